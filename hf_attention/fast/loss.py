"""The training loss without logits that are kept."""

import torch
from torch import nn

from .products import align, new_aligned, transposed_product
from .reasons import first_derivative_only, may_form_gradients, may_replace


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
    token_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """
    As [`~hf_attention.models.loss.summed_token_loss`]. No logits are kept for the backward pass.
    """
    needs_weights_gradient = token_weights is not None and token_weights.requires_grad
    if needs_weights_gradient or not may_form_gradients() or not may_replace(output_embedding, types=(nn.Linear,)):
        return NotImplemented
    is_target = labels != -100
    weights = None if token_weights is None else token_weights[is_target]
    weight, bias = output_embedding.weight, output_embedding.bias
    return _LinearCrossEntropy.apply(
        hidden_states[is_target], weight, bias, labels[is_target], weights, label_smoothing
    )


class _LinearCrossEntropy(torch.autograd.Function):
    """
    The summed cross-entropy of a linear projection, which forms its gradients part by part in the forward pass:
    autograd would keep the probabilities of all positions until the backward pass.

    In half precision on a processor the bias is one more column of the weight, which multiplies a one behind each
    state, and positions of zeros are appended.
    """

    @staticmethod
    def forward(ctx, states, weight, bias, targets, token_weights, label_smoothing):
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
        of_targets = [targets] if token_weights is None else [targets, token_weights]
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
    @first_derivative_only
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
    token_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """
    The summed loss of logits, `(positions, vocabulary)`, which their gradient is written over. Some rows at a time are
    computed in `scratch`, which stays in the processor's cache.
    """
    dtype, positions = scratch.dtype, torch.arange(len(logits), device=logits.device)
    of_targets = logits[positions, targets].unsqueeze(1).to(dtype)
    log_totals, means = torch.empty_like(of_targets), torch.empty_like(of_targets)
    factors = torch.ones_like(of_targets) if token_weights is None else token_weights.unsqueeze(1).to(dtype)
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
