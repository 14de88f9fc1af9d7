"""The training loss over the tokens that count."""

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


# Positions whose logits are made at a time: few enough to stay in a processor's cache.
CHUNK_SIZE = 256


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
    states, targets = hidden_states[is_target], labels[is_target]
    weights = None if label_weights is None else label_weights[is_target]
    if torch.is_grad_enabled() and _is_plain_linear(output_embedding) and not torch.compiler.is_compiling():
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


def _is_plain_linear(module: nn.Module) -> bool:
    """Whether nothing but a product with its weight would happen if it were called."""
    hooked = module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module)
    return type(module) is nn.Linear and not hooked


class _LinearCrossEntropy(torch.autograd.Function):
    """
    The summed cross-entropy of a linear projection, which forms its gradients chunk by chunk in the forward pass:
    autograd would keep the probabilities of all positions until the backward pass.
    """

    @staticmethod
    def forward(ctx, states, weight, bias, targets, label_weights, label_smoothing):
        dtype = torch.promote_types(states.dtype, torch.float32)
        total = states.new_zeros((), dtype=dtype)
        states_gradient = torch.empty_like(states)
        weight_gradient = torch.zeros_like(weight, dtype=torch.promote_types(weight.dtype, torch.float32))
        bias_gradient = None if bias is None else torch.zeros_like(bias, dtype=weight_gradient.dtype)
        cast_weight = weight.to(states.dtype)  # once, not in every chunk
        for start in range(0, len(states), CHUNK_SIZE):
            chunk = slice(start, start + CHUNK_SIZE)
            labels = targets[chunk].unsqueeze(1)
            log_probabilities = F.linear(states[chunk], cast_weight, bias).log_softmax(1, dtype=dtype)
            losses = (label_smoothing - 1) * log_probabilities.gather(1, labels)
            if label_smoothing:
                losses -= label_smoothing * log_probabilities.mean(1, keepdim=True)
            # The gradient of the logits: their probabilities less the target's.
            gradient = log_probabilities.exp_()
            if label_smoothing:
                gradient -= label_smoothing / gradient.shape[1]
            gradient.scatter_add_(1, labels, torch.full_like(losses, label_smoothing - 1))
            if label_weights is not None:
                factors = label_weights[chunk].unsqueeze(1).to(dtype)
                losses *= factors
                gradient *= factors
            total += losses.sum()
            gradient = gradient.to(states.dtype)
            states_gradient[chunk] = gradient @ cast_weight
            weight_gradient += gradient.T @ states[chunk]
            if bias is not None:
                bias_gradient += gradient.sum(0)
        ctx.save_for_backward(states_gradient, weight_gradient.to(weight.dtype), bias_gradient)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, factor):
        gradients = [None if value is None else (factor * value).to(value.dtype) for value in ctx.saved_tensors]
        return *gradients, None, None, None


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
