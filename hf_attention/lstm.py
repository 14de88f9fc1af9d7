"""A layer of an LSTM over a whole sequence, whose training in half precision is fast on a processor."""

import torch
from torch.autograd.function import once_differentiable

from .attention import compute_dtype
from .products import align, new_aligned, transpose


def trains_in_half_precision(inputs: torch.Tensor) -> bool:
    """
    Whether [`lstm_layer`] is the better way: on processors, PyTorch's own LSTM goes backward in bfloat16 hardly faster
    than in float32, and on many of them knows no float16.
    """
    return (
        inputs.device.type == "cpu"
        and compute_dtype(inputs) in (torch.bfloat16, torch.float16)
        and torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
    )


def lstm_layer(
    inputs: torch.Tensor,
    hidden: torch.Tensor,
    cell: torch.Tensor,
    weight_ih: torch.Tensor,
    weight_hh: torch.Tensor,
    bias: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    One layer of an `nn.LSTM`, in one direction. The cells are computed in float32 at least. Second derivatives and
    `torch.func` are refused.

    Args:
        inputs (`torch.Tensor` of shape `(rows, steps, input_size)`): What is read.
        hidden (`torch.Tensor` of shape `(rows, size)`): The state before the first step.
        cell (`torch.Tensor` of shape `(rows, size)`): The cell before it.
        weight_ih (`torch.Tensor` of shape `(4 * size, input_size)`): The gates' matrix for the inputs.
        weight_hh (`torch.Tensor` of shape `(4 * size, size)`): That for the state.
        bias (`torch.Tensor` of shape `(4 * size)`): The sum of both biases.

    Returns:
        `tuple`: the states of all steps, of shape `(rows, steps, size)`, in the dtype in which products are computed
        (autocast's); and the cell after the last, at least float32.
    """
    dtype = compute_dtype(inputs)
    cell = cell.to(torch.promote_types(dtype, torch.float32))
    states, cell = _LSTMLayer.apply(dtype, inputs.transpose(0, 1), hidden, cell, weight_ih, weight_hh, bias)
    return states.transpose(0, 1), cell


class _LSTMLayer(torch.autograd.Function):
    """
    Steps come first in all shapes. What a step works on are a few small buffers, which stay in the processor's cache;
    what it keeps for the backward pass are its gates, its cell and its state. The matrices' gradients are one product
    each, after the last step.
    """

    @staticmethod
    def forward(ctx, dtype, inputs, hidden, cell, weight_ih, weight_hh, bias):
        ctx.dtypes = [tensor.dtype for tensor in (inputs, hidden, weight_ih, weight_hh, bias)]
        (steps, rows, _), size = inputs.shape, hidden.shape[1]
        inputs, weight_ih, weight_hh = align(inputs, dtype), align(weight_ih, dtype), weight_hh.to(dtype)
        gates = new_aligned(hidden, (steps, rows, 4 * size), dtype)
        torch.addmm(bias.to(dtype), inputs.flatten(0, 1), weight_ih.t(), out=gates.flatten(0, 1))
        states = new_aligned(hidden, (steps + 1, rows, size), dtype)
        cells = cell.new_empty(steps + 1, rows, size)
        states[0], cells[0] = hidden, cell
        now, weight = cell.new_empty(rows, 4 * size), weight_hh.t()
        input_gate, forget_gate, candidate, output_gate = now.chunk(4, 1)
        sigmoids = now[:, : 2 * size]
        state, cell = states[0], cells[0]
        of_step = (tensor.unbind() for tensor in (gates, states[1:], cells[1:]))
        for step_gates, next_state, next_cell in zip(*of_step, strict=True):
            now.copy_(step_gates.addmm_(state, weight))
            sigmoids.sigmoid_()
            candidate.tanh_()
            output_gate.sigmoid_()
            step_gates.copy_(now)
            cell = torch.mul(forget_gate, cell, out=next_cell).addcmul_(input_gate, candidate)
            state = next_state.copy_(torch.tanh(cell, out=candidate).mul_(output_gate))
        ctx.save_for_backward(inputs, weight_ih, weight_hh, gates, states, cells)
        return states[1:], cells[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx, states_gradient, cell_gradient):
        inputs, weight_ih, weight_hh, gates, states, cells = ctx.saved_tensors
        steps, rows, width = gates.shape
        size = width // 4
        gates_gradient = new_aligned(gates, gates.shape, gates.dtype)
        now, gradient = cells.new_empty(rows, width), cells.new_empty(rows, width)
        input_gate, forget_gate, candidate, output_gate = now.chunk(4, 1)
        to_input, to_forget, to_candidate, to_output = gradient.chunk(4, 1)
        to_state, tanh, product = cells.new_empty(3, rows, size).unbind()
        to_cell = cell_gradient.clone()
        sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
        tanh_backward = torch.ops.aten.tanh_backward.grad_input
        of_steps = [tensor.unbind() for tensor in (gates, gates_gradient, cells[:-1], cells[1:], states_gradient)]
        later = torch.zeros_like(states[0])
        for step_gates, step_gradient, cell, next_cell, from_above in reversed(list(zip(*of_steps, strict=True))):
            now.copy_(step_gates)
            torch.add(from_above, later, out=to_state)
            torch.tanh(next_cell, out=tanh)
            sigmoid_backward(torch.mul(to_state, tanh, out=product), output_gate, grad_input=to_output)
            to_cell += tanh_backward(to_state.mul_(output_gate), tanh, grad_input=to_state)
            sigmoid_backward(torch.mul(to_cell, candidate, out=product), input_gate, grad_input=to_input)
            sigmoid_backward(torch.mul(to_cell, cell, out=product), forget_gate, grad_input=to_forget)
            tanh_backward(torch.mul(to_cell, input_gate, out=product), candidate, grad_input=to_candidate)
            to_cell *= forget_gate
            step_gradient.copy_(gradient)
            torch.mm(step_gradient, weight_hh, out=later)
        flat = gates_gradient.flatten(0, 1)
        turned = transpose(flat)
        gradients = [
            (flat @ weight_ih).unflatten(0, (steps, rows)) if ctx.needs_input_grad[1] else None,
            later,
            turned @ inputs.flatten(0, 1),
            turned @ states[:-1].flatten(0, 1),
            flat.sum(0),
        ]
        of_inputs, of_hidden, *of_weights = (
            None if value is None else value.to(dtype) for value, dtype in zip(gradients, ctx.dtypes, strict=True)
        )
        return None, of_inputs, of_hidden, to_cell, *of_weights
