"""The training loss over the tokens that count."""

import torch
from torch import nn
from torch.nn import functional as F


# Positions whose logits are made at a time: few enough to stay in a processor's cache.
CHUNK_SIZE = 512


def summed_token_loss(
    hidden_states: torch.Tensor,
    output_embedding: nn.Module,
    labels: torch.LongTensor,
    label_smoothing: float = 0.0,
    label_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """
    The cross-entropy summed over the positions whose label is not -100. Only these positions are projected onto the
    vocabulary, and no logits are kept.

    Args:
        hidden_states (`torch.Tensor` of shape `(rows, target, size)`): From which the tokens are predicted.
        output_embedding (`nn.Module`): Projects onto the vocabulary.
        labels (`torch.LongTensor` of shape `(rows, target)`): The tokens to predict; -100 is left out.
        label_smoothing (`float`, *optional*, defaults to 0.0): Share of the target spread evenly over the vocabulary.
        label_weights (`torch.Tensor` of shape `(rows, target)`, *optional*): What each position's loss counts.

    Returns:
        `torch.Tensor`: A scalar, at least float32.
    """
    is_target = labels != -100

    def chunk_loss(states, targets, weights=None):
        logits = output_embedding(states)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if weights is None:
            return F.cross_entropy(logits, targets, reduction="sum", label_smoothing=label_smoothing)
        losses = F.cross_entropy(logits, targets, reduction="none", label_smoothing=label_smoothing)
        return losses @ weights.to(losses.dtype)

    of_targets = [hidden_states, labels] if label_weights is None else [hidden_states, labels, label_weights]
    chunks = zip(*(values[is_target].split(CHUNK_SIZE) for values in of_targets), strict=True)
    return sum(chunk_loss(*chunk) for chunk in chunks)


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
