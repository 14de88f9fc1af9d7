"""Training: arguments, data, tokenizers, stored features, and the loop on Accelerate that every script runs."""
