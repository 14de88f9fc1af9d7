"""Attention at each step of a recurrence in training, its products summed over the steps."""

from collections.abc import Callable

import torch
from torch import nn

from ..models.attention import (
    AdditiveAttention,
    Attention,
    DotAttention,
    GeneralAttention,
    ScaledDotAttention,
    masked_softmax,
)
from ..models.memory import ProjectedMemory
from .reasons import compute_dtype, may_replace, prefers_own_scores
from .steps import StepProduct, StepScores


def look_by_step(
    attention: Attention, memory: ProjectedMemory | None, rows: int, steps: int
) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """As [`~hf_attention.models.attention.look_by_step`], in training."""
    make_look = _LOOKS.get(type(attention))
    if memory is None or make_look is None or not torch.is_grad_enabled():
        return NotImplemented
    if not may_replace(attention, *attention.children(), types=(type(attention), nn.Linear)):
        return NotImplemented
    return make_look(attention, memory, rows // len(memory.keys), steps)


def _look_additively(attention: AdditiveAttention, memory: ProjectedMemory, queries: int, steps: int):
    if attention.coverage_proj is not None:
        return NotImplemented
    weight = attention.score_proj.weight.squeeze(0)
    if prefers_own_scores(memory.keys, weight):
        score = StepScores(memory.keys, weight, queries, steps)
    else:

        def score(query):
            return attention.score_proj((memory.keys.unsqueeze(1) + query.unsqueeze(2)).tanh()).squeeze(-1)

    project, sum_values = (
        _projection(attention.query_proj, memory, queries, steps),
        _sums(memory.values, queries, steps),
    )

    def look(query, memory_, coverage):
        query = project(query).unflatten(0, (-1, queries))
        weights = masked_softmax(score(query), memory.mask)
        return sum_values(weights.to(memory.values.dtype)).flatten(0, 1), weights.flatten(0, 1).unsqueeze(1)

    return look


def _look_by_products(attention: Attention, memory: ProjectedMemory, queries: int, steps: int):
    multiply_keys, sum_values = _sums(memory.keys.mT, queries, steps), _sums(memory.values, queries, steps)

    def look(query, memory_, coverage):
        weights = masked_softmax(multiply_keys(query.unflatten(0, (-1, queries))), memory.mask)
        return sum_values(weights.to(memory.values.dtype)).flatten(0, 1), weights.flatten(0, 1).unsqueeze(1)

    return look


def _look_with_heads(attention: ScaledDotAttention, memory: ProjectedMemory, queries: int, steps: int):
    keys, values = attention.split_heads(memory.keys), attention.split_heads(memory.values)
    multiply_keys, sum_values = _sums(keys.mT, queries, steps), _sums(values, queries, steps)
    project = _projection(attention.query_proj, memory, queries, steps)

    def look(query, memory_, coverage):
        query = attention.split_heads(project(query).unflatten(0, (-1, queries)) * attention.scale)
        weights = masked_softmax(multiply_keys(query), memory.mask)
        context = sum_values(weights.to(values.dtype)).transpose(1, 2).flatten(-2)
        return attention.output_proj(context).flatten(0, 1), weights.transpose(1, 2).flatten(0, 1)

    return look


_LOOKS = {
    AdditiveAttention: _look_additively,
    DotAttention: _look_by_products,
    GeneralAttention: _look_by_products,
    ScaledDotAttention: _look_with_heads,
}


def _projection(linear: nn.Linear, memory: ProjectedMemory, queries: int, steps: int) -> StepProduct:
    """A linear layer over `(rows, size)` at each step."""
    dtype = compute_dtype(linear.weight)
    bias = linear.weight.new_zeros(linear.out_features) if linear.bias is None else linear.bias
    bases = bias.to(dtype).expand(len(memory.keys) * queries, steps, -1)
    return StepProduct(bases, linear.weight.to(dtype).t())


def _sums(matrices: torch.Tensor, queries: int, steps: int) -> StepProduct:
    """Products with matrices of their own for each memory, and each head."""
    *batch, _, outputs = matrices.shape
    matrices = matrices.contiguous()  # once, not at every step
    return StepProduct(matrices.new_zeros(()).expand(*batch, queries, steps, outputs), matrices)
