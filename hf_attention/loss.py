"""The training loss over the tokens that count."""

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .plain import is_plain


# Positions whose logits are made at a time: few enough to stay in a processor's cache.
CHUNK_SIZE = 256
# How many bytes of gradients of logits are kept, of a chunk at least, before they are multiplied with states and
# weight: one large product takes less time than many small ones and their sum.
KEPT_BYTES = 2**25


def summed_token_loss(
    hidden_states: torch.Tensor,
    output_embedding: nn.Module,
    labels: torch.LongTensor,
    label_smoothing: float = 0.0,
    label_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """
    The cross-entropy summed over the positions whose label is not -100. Only these positions are projected onto the
    vocabulary, and no logits are kept for the backward pass: unless the output embedding is wrapped, has hooks or is
    compiled, or the weights need a gradient: then it is called for autograd to follow.

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
    states, targets = hidden_states[is_target], labels[is_target]
    weights = None if label_weights is None else label_weights[is_target]
    needs_weights_gradient = weights is not None and weights.requires_grad
    forms_gradients = torch.is_grad_enabled() and not torch.compiler.is_compiling() and not needs_weights_gradient
    if forms_gradients and is_plain(output_embedding, nn.Linear):
        return _LinearCrossEntropy.apply(
            states, output_embedding.weight, output_embedding.bias, targets, weights, label_smoothing
        )

    def chunk_loss(states, targets, weights=None):
        logits = output_embedding(states)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        losses = F.cross_entropy(logits, targets, reduction="none", label_smoothing=label_smoothing)
        return losses.sum() if weights is None else losses @ weights.to(losses.dtype)

    of_targets = [states, targets] if weights is None else [states, targets, weights]
    chunks = zip(*(values.split(CHUNK_SIZE) for values in of_targets), strict=True)
    return sum(chunk_loss(*chunk) for chunk in chunks)


class _LinearCrossEntropy(torch.autograd.Function):
    """
    The summed cross-entropy of a linear projection, which forms its gradients part by part in the forward pass:
    autograd would keep the probabilities of all positions until the backward pass.
    """

    @staticmethod
    def forward(ctx, states, weight, bias, targets, label_weights, label_smoothing):
        dtype = torch.promote_types(states.dtype, torch.float32)
        total = states.new_zeros((), dtype=dtype)
        states_gradient = torch.empty_like(states)
        _, needs_weight, needs_bias, *_ = ctx.needs_input_grad
        weight_gradient = torch.zeros_like(weight) if needs_weight and not len(states) else None
        bias_gradient = torch.zeros_like(bias, dtype=dtype) if needs_bias else None
        cast_weight = weight.to(states.dtype)  # once, not in every chunk
        part_size = max(KEPT_BYTES // (states.element_size() * len(weight)), CHUNK_SIZE)
        kept = states.new_empty(min(part_size, len(states)), len(weight))
        of_targets = [states, targets] if label_weights is None else [states, targets, label_weights]
        for part, part_states_gradient, *rest in zip(
            states.split(part_size),
            states_gradient.split(part_size),
            *(values.split(part_size) for values in of_targets),
            strict=True,
        ):
            gradients = kept[: len(part)]
            chunks = zip(*(values.split(CHUNK_SIZE) for values in (gradients, *rest)), strict=True)
            total += sum(_chunk_loss(cast_weight, bias, label_smoothing, *chunk) for chunk in chunks)
            torch.mm(gradients, cast_weight, out=part_states_gradient)
            if needs_weight:
                product = gradients.T @ part
                weight_gradient = product if weight_gradient is None else weight_gradient.to(dtype).add_(product)
            if needs_bias:
                bias_gradient += gradients.sum(0)
        ctx.save_for_backward(states_gradient, weight_gradient, bias_gradient)
        ctx.dtypes = [states.dtype, weight.dtype, None if bias is None else bias.dtype]
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, factor):
        gradients = [
            # A cast is a copy, which may be written over.
            value if value is None else value * factor if value.dtype == dtype else value.to(dtype).mul_(factor)
            for value, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        ]
        return *gradients, None, None, None


def _chunk_loss(
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    label_smoothing: float,
    logits_gradient: torch.Tensor,
    states: torch.Tensor,
    targets: torch.LongTensor,
    label_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """The summed loss of a chunk, whose gradient is written into `logits_gradient`, `(positions, vocabulary)`."""
    labels = targets.unsqueeze(1)
    dtype = torch.promote_types(states.dtype, torch.float32)
    log_probabilities = F.linear(states, weight, bias).log_softmax(1, dtype=dtype)
    losses = (label_smoothing - 1) * log_probabilities.gather(1, labels)
    if label_smoothing:
        losses -= label_smoothing * log_probabilities.mean(1, keepdim=True)
    # The gradient of the logits: their probabilities less the target's.
    gradient = log_probabilities.exp_()
    if label_smoothing:
        gradient -= label_smoothing / gradient.shape[1]
    gradient.scatter_add_(1, labels, torch.full_like(losses, label_smoothing - 1))
    if label_weights is not None:
        factors = label_weights.unsqueeze(1).to(dtype)
        losses *= factors
        gradient *= factors
    logits_gradient.copy_(gradient)
    return losses.sum()


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
