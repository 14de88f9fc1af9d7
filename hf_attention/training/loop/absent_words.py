"""A loss that has nothing to learn from words that never follow one another in training."""

from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from torch.nn import functional as F

from ...models.generation import OF_THE_LOSS
from .objective import Objective


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
        if not unwrapped.config.is_encoder_decoder:
            kind = type(unwrapped).__name__
            raise ValueError(f"Words are left out of the loss of models with encoder and decoder only, got a {kind}.")
        for name in ("label_smoothing", "doubly_stochastic_penalty"):
            value = getattr(unwrapped.config, name)
            if value:
                raise ValueError(f"`{name}` must be 0 where words are left out of the loss, got {value}.")
        if "token_weights" in batch:
            raise ValueError("A batch must have no `token_weights` where words are left out of the loss.")
        labels = batch["labels"]
        decoder_input_ids = unwrapped.prepare_decoder_input_ids_from_labels(labels)
        inputs = {name: value for name, value in batch.items() if name not in OF_THE_LOSS}
        logits = model(**inputs, decoder_input_ids=decoder_input_ids).logits
        is_target = labels != -100
        targets, left_out = labels[is_target], self.absent[decoder_input_ids[is_target]]
        # A text that was not counted may still have one of these.
        left_out = left_out.scatter(1, targets.unsqueeze(1), False)
        logits = logits[is_target].float().masked_fill(left_out, -torch.inf)
        return F.cross_entropy(logits, targets, reduction="sum") / num_items
