"""From a data set to examples: reading, tokenizers, images, stored features, batches."""
