"""From the states of a decoder to logits, or to the loss of its labels."""

from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from .linear import apply_linear
from .loss import summed_token_loss
from .recording import left_out


def predict_tokens(
    hidden_states: torch.Tensor,
    lm_head: nn.Module,
    labels: torch.LongTensor | None,
    *,
    training: bool,
    label_smoothing: float,
    logits_to_keep: int | torch.LongTensor = 0,
    num_items_in_batch: int | torch.Tensor | None = None,
    token_weights: torch.Tensor | None = None,
    penalty: torch.Tensor | None = None,
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """
    The loss and the logits of every model of this package. In training, and where the labels have weights, there is
    the loss only: no logits are kept.

    Args:
        hidden_states (`torch.Tensor` of shape `(rows, target, size)`):
            From which the tokens are predicted.
        lm_head (`nn.Module`):
            Projects onto the vocabulary.
        labels (`torch.LongTensor` of shape `(rows, target)`, *optional*):
            The token to predict from each state, -100 where none counts. `None`: there is no loss.
        training (`bool`):
            Whether the model is in training mode.
        label_smoothing (`float`):
            Share of the target spread evenly over the vocabulary, in training.
        logits_to_keep (`int` or `torch.LongTensor`, *optional*, defaults to 0):
            How many of the last steps' logits to return, or which steps'; 0 for all.
        num_items_in_batch (`int` or `torch.Tensor`, *optional*):
            What the summed loss is divided by. Defaults to the number of labels.
        token_weights (`torch.Tensor` of shape `(rows, target)`, *optional*):
            What the loss of each label counts.
        penalty (`torch.Tensor`, *optional*):
            A scalar that is added to the summed loss.

    Returns:
        `tuple`: the loss, a scalar, and the logits, of shape `(rows, target, vocab_size)`; `None` in place of either.
    """
    kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
    if labels is None:
        return None, apply_linear(lm_head, hidden_states[:, kept])
    labels = labels.to(hidden_states.device)  # parts of a model may lie on devices of their own
    if training or token_weights is not None:
        logits = None
        smoothing = label_smoothing if training else 0.0
        # How many count is another number each time.
        loss = left_out(partial(summed_token_loss, hidden_states, lm_head, labels, smoothing, token_weights))
    else:
        all_logits = lm_head(hidden_states)
        exact = all_logits.to(torch.promote_types(all_logits.dtype, torch.float32))
        loss = F.cross_entropy(exact.flatten(0, 1), labels.to(all_logits.device).flatten(), reduction="sum")
        # Not a slice of all: the loss has a gradient with respect to what is returned.
        logits = all_logits if isinstance(logits_to_keep, int) and logits_to_keep == 0 else all_logits[:, kept]
    if penalty is not None:
        loss = loss + penalty
    num_items = (labels != -100).sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch
    return loss / (num_items.to(loss.device) if isinstance(num_items, torch.Tensor) else num_items), logits
