"""What the training loop minimises."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from ...models.generation import OF_THE_LOSS


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


def target_logits(
    model: nn.Module, unwrapped: PreTrainedModel, batch: Mapping[str, Any]
) -> tuple[torch.Tensor, torch.LongTensor, torch.LongTensor]:
    """
    For losses of their own: what a model with encoder and decoder says where there is a target.

    Args:
        model (`nn.Module`):
            As Accelerate prepared it.
        unwrapped (`PreTrainedModel`):
            The model within it.
        batch (`Mapping`):
            The encoder's inputs and `labels`, of shape `(rows, target)`, -100 where none counts.

    Returns:
        `tuple`: the logits, float32 of shape `(targets, vocab_size)`, the targets and the tokens that the decoder is
        fed before them, of shape `(targets,)`.

    Raises:
        ValueError: Where the model's own loss has terms that are not had from the logits.
    """
    if not unwrapped.config.is_encoder_decoder:
        raise ValueError(f"A model with encoder and decoder is needed, got a {type(unwrapped).__name__}.")
    if unwrapped.config.doubly_stochastic_penalty:
        value = unwrapped.config.doubly_stochastic_penalty
        raise ValueError(f"`doubly_stochastic_penalty` must be 0 with this objective, got {value}.")
    if "token_weights" in batch:
        raise ValueError("A batch must have no `token_weights` with this objective.")
    labels = batch["labels"]
    decoder_input_ids = unwrapped.prepare_decoder_input_ids_from_labels(labels)
    inputs = {name: value for name, value in batch.items() if name not in OF_THE_LOSS}
    logits = model(**inputs, decoder_input_ids=decoder_input_ids).logits
    is_target = labels != -100
    return logits[is_target].float(), labels[is_target], decoder_input_ids[is_target]
