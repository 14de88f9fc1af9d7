"""The training loss over the tokens that count."""

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .plain import is_plain
from .products import align, new_aligned, transposed_product


# Positions whose logits are made at a time.
CHUNK_SIZE = 768
# Zeros are appended up to a multiple: for products of a new shape, processors compile code, which can take longer than
# the product.
POSITIONS_MULTIPLE = 64
# Bytes in which losses are computed: few enough to stay in a processor's cache.
SCRATCH_BYTES = 2**19
# How many bytes of gradients of logits are kept, of so many positions at least, before they are multiplied with states
# and weight: one large product takes less time than many small ones and their sum.
KEPT_BYTES = 2**25
KEPT_POSITIONS = 512


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

    Raises:
        IndexError: If a label is neither a token nor -100.
    """
    is_target = labels != -100
    states, targets = hidden_states[is_target], labels[is_target]
    weights = None if label_weights is None else label_weights[is_target]
    needs_weights_gradient = weights is not None and weights.requires_grad
    forms_gradients = torch.is_grad_enabled() and not torch.compiler.is_compiling() and not needs_weights_gradient
    if forms_gradients and is_plain(output_embedding, nn.Linear):
        weight, bias = output_embedding.weight, output_embedding.bias
        return _LinearCrossEntropy.apply(states, weight, bias, targets, weights, label_smoothing)

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

    In half precision on a processor the bias is one more column of the weight, which multiplies a one behind each
    state, and positions of zeros are appended.
    """

    @staticmethod
    def forward(ctx, states, weight, bias, targets, label_weights, label_smoothing):
        if len(targets) and targets.min() < 0:
            raise IndexError(f"Target {int(targets.min())} is out of bounds: labels are tokens, or -100.")
        dtype = torch.promote_types(states.dtype, torch.float32)
        ctx.states_shape, ctx.weight_dtype = states.shape, weight.dtype
        ctx.bias_dtype = None if bias is None else bias.dtype
        ctx.bias_is_column = states.dtype != dtype and states.device.type == "cpu"
        if ctx.bias_is_column:
            (positions, size), weight = states.shape, align(weight, states.dtype, more=1)
            rows = new_aligned(states, (_rounded_up(positions), size + 1), states.dtype).zero_()
            rows[:positions, :size] = states
            if bias is not None:
                rows[:positions, size], weight[:, size] = 1, bias
            bias = None
        else:
            rows, weight = states, weight.to(states.dtype)
        total = rows.new_zeros((), dtype=dtype)
        states_gradient, weight_gradient, bias_gradient = torch.empty_like(rows), None, None
        _, needs_weight, needs_bias, *_ = ctx.needs_input_grad
        part_size = _rounded_up(max(KEPT_BYTES // (rows.element_size() * len(weight)), KEPT_POSITIONS))
        kept = rows.new_empty(min(part_size, len(rows)), len(weight))
        scratch_bytes = SCRATCH_BYTES if rows.device.type == "cpu" else KEPT_BYTES
        scratch_rows = max(scratch_bytes // (dtype.itemsize * len(weight)), 1)
        scratch = rows.new_empty(min(scratch_rows, len(kept)), len(weight), dtype=dtype)
        of_targets = [targets] if label_weights is None else [targets, label_weights]
        for part, part_gradient, *rest in zip(
            rows.split(part_size),
            states_gradient.split(part_size),
            *(values.split(part_size) for values in of_targets),
            strict=True,
        ):
            logits = kept[: len(part)]
            for chunk, chunk_logits in zip(part.split(CHUNK_SIZE), logits.split(CHUNK_SIZE), strict=True):
                torch.mm(chunk, weight.t(), out=chunk_logits)
                if bias is not None:
                    chunk_logits += bias
            total += _loss_and_gradient(logits[: len(rest[0])], label_smoothing, scratch, *rest)
            logits[len(rest[0]) :] = 0
            torch.mm(logits, weight, out=part_gradient)
            if needs_weight or (needs_bias and ctx.bias_is_column):
                product = transposed_product(part, logits) if ctx.bias_is_column else logits.t() @ part
                weight_gradient = product if weight_gradient is None else weight_gradient.to(dtype).add_(product)
            if needs_bias and not ctx.bias_is_column:
                of_part = logits.sum(0, dtype=dtype)
                bias_gradient = of_part if bias_gradient is None else bias_gradient.add_(of_part)
        ctx.save_for_backward(states_gradient, weight_gradient, bias_gradient)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, factor):
        states_gradient, weight_gradient, bias_gradient = ctx.saved_tensors
        _, needs_weight, needs_bias, *_ = ctx.needs_input_grad
        positions, size = ctx.states_shape
        if ctx.bias_is_column and weight_gradient is not None:
            weight_gradient, bias_gradient = weight_gradient[:size].t(), weight_gradient[size]
        of_weight = of_bias = None
        if needs_weight:
            of_weight = weight_gradient.new_empty(weight_gradient.shape, dtype=ctx.weight_dtype)
            of_weight.copy_(weight_gradient).mul_(factor)
        if needs_bias:
            of_bias = bias_gradient.to(ctx.bias_dtype) * factor
        return states_gradient[:positions, :size] * factor, of_weight, of_bias, None, None, None


def _rounded_up(positions: int) -> int:
    return -(-positions // POSITIONS_MULTIPLE) * POSITIONS_MULTIPLE


def _loss_and_gradient(
    logits: torch.Tensor,
    label_smoothing: float,
    scratch: torch.Tensor,
    targets: torch.LongTensor,
    label_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """
    The summed loss of logits, `(positions, vocabulary)`, which their gradient is written over. Some rows at a time are
    computed in `scratch`, which stays in the processor's cache.
    """
    dtype, positions = scratch.dtype, torch.arange(len(logits), device=logits.device)
    of_targets = logits[positions, targets].unsqueeze(1).to(dtype)
    log_totals, means = torch.empty_like(of_targets), torch.empty_like(of_targets)
    factors = torch.ones_like(of_targets) if label_weights is None else label_weights.unsqueeze(1).to(dtype)
    for rows, factor, log_total, mean in zip(
        *(tensor.split(len(scratch)) for tensor in (logits, factors, log_totals, means)), strict=True
    ):
        values = scratch[: len(rows)].copy_(rows)
        if label_smoothing:
            torch.mean(values, 1, keepdim=True, out=mean)
        greatest = values.amax(1, keepdim=True)
        total = values.sub_(greatest).exp_().sum(1, keepdim=True)
        torch.add(greatest, total.log(), out=log_total)
        # The gradient of the logits: their probabilities, less what the target is.
        values *= factor / total
        if label_smoothing:
            values -= factor * (label_smoothing / values.shape[1])
        rows.copy_(values)
    losses = log_totals - (1 - label_smoothing) * of_targets
    rest = 1 - label_smoothing
    if label_smoothing:
        losses -= label_smoothing * means
        rest = rest + label_smoothing / logits.shape[1]
    gradients = ((of_targets - log_totals).exp() - rest) * factors
    logits[positions, targets] = gradients.squeeze(1).to(logits.dtype)
    return (losses * factors).sum()


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
