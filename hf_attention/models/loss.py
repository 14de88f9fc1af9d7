"""The training loss over the tokens that count."""

import torch
from torch import nn
from torch.nn import functional as F

from .door import replaceable


@replaceable
def summed_token_loss(
    hidden_states: torch.Tensor,
    output_embedding: nn.Module,
    labels: torch.LongTensor,
    label_smoothing: float = 0.0,
    token_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """
    The cross-entropy summed over the positions whose label is not -100. Only these positions are projected onto the
    vocabulary.

    Args:
        hidden_states (`torch.Tensor` of shape `(rows, target, size)`): From which the tokens are predicted.
        output_embedding (`nn.Module`): Projects onto the vocabulary.
        labels (`torch.LongTensor` of shape `(rows, target)`): The tokens to predict; -100 is left out.
        label_smoothing (`float`, *optional*, defaults to 0.0): Share of the target spread evenly over the vocabulary.
        token_weights (`torch.Tensor` of shape `(rows, target)`, *optional*): What each position's loss counts.

    Returns:
        `torch.Tensor`: A scalar, at least float32.

    Raises:
        IndexError: If a label is neither a token nor -100.
    """
    is_target = labels != -100
    logits = output_embedding(hidden_states[is_target])
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    losses = F.cross_entropy(logits, labels[is_target], reduction="none", label_smoothing=label_smoothing)
    return losses.sum() if token_weights is None else losses @ token_weights[is_target].to(losses.dtype)


def doubly_stochastic_loss(
    attention: torch.Tensor, labels: torch.LongTensor, memory_mask: torch.Tensor | None = None
) -> torch.Tensor:
    r"""
    \\( \sum_i (1 - \sum_t \alpha_{ti})^2 \\), summed over sentences (Xu et al. 2015, eq. 14).

    Args:
        attention (`torch.Tensor` of shape `(rows, heads, target, positions)`): The weights; heads are averaged.
        labels (`torch.LongTensor` of shape `(rows, target)`): -100 where a step does not count.
        memory_mask (`torch.Tensor` of shape `(batch, positions)`, *optional*):
            0 where a position does not count; `rows` is a multiple of `batch`.

    Returns:
        `torch.Tensor`: A scalar.
    """
    is_target = (labels != -100).to(attention.dtype).unsqueeze(-1)
    penalty = (1 - (attention.mean(1) * is_target).sum(1)).square()
    if memory_mask is not None:
        rows_a_memory = attention.shape[0] // memory_mask.shape[0]
        penalty = penalty * memory_mask.to(penalty.dtype).repeat_interleave(rows_a_memory, 0)
    return penalty.sum()
