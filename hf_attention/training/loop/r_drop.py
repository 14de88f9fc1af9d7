"""R-Drop: a model is to say the same under two dropout masks (Wu et al. 2021)."""

from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from .objective import Objective, target_logits


# A processor keeps so many rows of a vocabulary in its cache, which halves the time.
ROWS_AT_A_TIME = 32


class RDropObjective(Objective):
    r"""
    The loss per target token, the mean of two passes with dropout masks of their own, and how much the two differ:
    \\( \frac{1}{2} (L_1 + L_2) + \frac{\alpha}{4} (D(P_1 \| P_2) + D(P_2 \| P_1)) \\), half of Wu et al. 2021, eq. 4,
    so that with equal passes it is the model's own loss. The two are one batch of twice as many rows.

    Args:
        accelerator (`Accelerator`):
            What has prepared the model, one with encoder and decoder.
        weight (`float`):
            The paper's \\( \alpha \\), 5 for its translators.
    """

    def __init__(self, accelerator: Accelerator, weight: float):
        self.accelerator = accelerator
        self.weight = weight

    def __call__(self, model: nn.Module, batch: Mapping[str, Any], num_items: int) -> torch.Tensor:
        twice = {name: torch.cat([value, value]) for name, value in batch.items()}
        unwrapped = self.accelerator.unwrap_model(model)
        logits, targets, _ = target_logits(model, unwrapped, twice)
        smoothing = unwrapped.config.label_smoothing
        loss = logits.new_zeros(())
        halves = (*logits.chunk(2), targets.chunk(2)[0])
        for first, second, words in zip(*(half.split(ROWS_AT_A_TIME) for half in halves), strict=True):
            first, second = first.log_softmax(-1), second.log_softmax(-1)
            both = (first + second) / 2
            loss = loss - (1 - smoothing) * both.gather(1, words.unsqueeze(1)).sum() - smoothing * both.mean(-1).sum()
            # Both divergences at once.
            loss = loss + self.weight / 4 * ((first.exp() - second.exp()) * (first - second)).sum()
        return loss / num_items
