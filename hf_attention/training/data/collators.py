"""From examples to batches."""

from collections.abc import Sequence
from typing import Any

import torch


class CaptionCollator:
    """
    Stacks images and pads the labels of their captions.

    With k captions for the image that has most, the labels of image i are the rows `i * k` to `i * k + k - 1`, so
    that a model needs each image only once. Rows without a caption are all padding.

    Args:
        label_pad_token_id (`int`, *optional*, defaults to -100):
            Padding of the labels, which the loss leaves out.
    """

    def __init__(self, label_pad_token_id: int = -100):
        self.label_pad_token_id = label_pad_token_id

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """
        Makes one batch.

        Args:
            examples (`Sequence[dict]`):
                Each with `labels`, a list of token ids per caption, an image under the names of the model's inputs,
                as tensors of equal shapes, and where captions do not count alike `token_weights`, one per caption.

        Returns:
            `dict[str, torch.Tensor]`: The inputs (images, …) in float32, `labels` (images * k, target) in int64, and
            where the examples have weights `token_weights` of that shape in float32.
        """
        captions = max(len(example["labels"]) for example in examples)
        target = max(len(ids) for example in examples for ids in example["labels"])
        labels = torch.full((len(examples), captions, target), self.label_pad_token_id)
        for image, example in enumerate(examples):
            for number, ids in enumerate(example["labels"]):
                labels[image, number, : len(ids)] = torch.tensor(ids)
        of_captions = ("labels", "token_weights")
        batch = stack_inputs([{k: v for k, v in example.items() if k not in of_captions} for example in examples])
        batch["labels"] = labels.flatten(0, 1)
        if "token_weights" in examples[0]:
            weights = torch.zeros(len(examples), captions)
            for row, example in zip(weights, examples, strict=True):
                row[: len(example["token_weights"])] = torch.tensor(example["token_weights"])
            batch["token_weights"] = weights.flatten().unsqueeze(1).expand(batch["labels"].shape)
        return batch


def stack_inputs(examples: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Stacks the inputs of several images, in float32: stored features are float16."""
    return {name: torch.stack([example[name] for example in examples]).float() for name in examples[0]}
