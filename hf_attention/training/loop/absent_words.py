"""A loss that has nothing to learn from words that never follow one another in training."""

from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from torch.nn import functional as F

from .objective import Objective, target_logits


class AbsentWordsObjective(Objective):
    """
    The loss per target token, of models with encoder and decoder, where each is chosen without the words that are left
    out behind the word before it: those that training never shows there, though it might.

    Where no training picture has a yellow cross, a captioner learns that *yellow* is never followed by *cross*, and
    says *a yellow star* of one, whatever it sees. This is a product of experts (Clark et al. 2019) whose other expert
    knows what never occurs: the loss has nothing left to learn from that. In generation the model does without it.

    Args:
        accelerator (`Accelerator`):
            What has prepared the model.
        absent (`torch.BoolTensor` of shape `(vocab_size, vocab_size)`):
            Whether the second word is left out behind the first, such as
            [`~hf_attention.training.data.absent.absent_followers`] gives.

    Raises:
        ValueError: When it is called with a model or a batch whose loss has other terms.
    """

    def __init__(self, accelerator: Accelerator, absent: torch.BoolTensor):
        self.accelerator = accelerator
        self.absent = absent.to(accelerator.device)

    def __call__(self, model: nn.Module, batch: Mapping[str, Any], num_items: int) -> torch.Tensor:
        unwrapped = self.accelerator.unwrap_model(model)
        if unwrapped.config.label_smoothing:
            value = unwrapped.config.label_smoothing
            raise ValueError(f"`label_smoothing` must be 0 where words are left out of the loss, got {value}.")
        logits, targets, fed = target_logits(model, unwrapped, batch)
        # A text that was not counted may still have one of these.
        left_out = self.absent[fed].scatter(1, targets.unsqueeze(1), False)
        return F.cross_entropy(logits.masked_fill(left_out, -torch.inf), targets, reduction="sum") / num_items
