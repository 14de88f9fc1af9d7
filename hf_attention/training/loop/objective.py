"""What the training loop minimises."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


class Objective:
    """
    The model's own loss per target token. A subclass trains by something else, in the same loop.

    The loop adds up, over the batches of an optimiser step and over all processes, what [`~Objective.num_items`]
    counts, and then asks for each batch's summed loss divided by that number: so a step is the same however its
    examples are spread over batches and processes.
    """

    def num_items(self, batch: Mapping[str, Any]) -> torch.Tensor:
        """
        How much a batch counts: its target tokens.

        Args:
            batch (`Mapping`):
                A batch of this process, on its device.

        Returns:
            `torch.Tensor`: A scalar.
        """
        return (batch["labels"] != -100).sum()

    def __call__(self, model: nn.Module, batch: Mapping[str, Any], num_items: int) -> torch.Tensor:
        """
        The share of a batch in the loss of the step.

        Args:
            model (`nn.Module`):
                As Accelerate prepared it, in training mode; call it at most once with gradients.
            batch (`Mapping`):
                A batch of this process, on its device.
            num_items (`int`):
                What the summed loss is divided by, at least 1.

        Returns:
            `torch.Tensor`: A scalar with a gradient.
        """
        return model(**batch, num_items_in_batch=num_items).loss

    def begin_epoch(self, epoch: int) -> None:
        """Told the number of each epoch, from 0, before its first batch; not when a run resumes within one."""

    def state_dict(self) -> dict[str, torch.Tensor]:
        """What a checkpoint must keep of this process, besides the model."""
        return {}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Takes over what [`~Objective.state_dict`] gave."""
