"""A layer of an LSTM over a whole sequence, whose training in half precision is fast on a processor."""

import torch

from .products import align, new_aligned, transposed_product
from .reasons import compute_dtype, first_derivative_only


def lstm_layer(
    inputs: torch.Tensor,
    hidden: torch.Tensor,
    cell: torch.Tensor,
    weight_ih: torch.Tensor,
    weight_hh: torch.Tensor,
    bias: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    One layer of an `nn.LSTM`, in one direction. The cells are computed in float32 at least. Second derivatives
    are refused.

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


class _Gates:
    """
    One step, forwards and backwards, whose arithmetic is done in small buffers that stay in the processor's cache.

    Args:
        cells (`torch.Tensor` of shape `(1 + steps, rows, size)`): Whose dtype the buffers have.
    """

    def __init__(self, cells: torch.Tensor):
        rows, size = cells.shape[1:]
        self.values, self.gradients = cells.new_empty(2, rows, 4 * size).unbind()
        self.input_gate, self.forget_gate, self.candidate, self.output_gate = self.values.chunk(4, 1)
        self.sigmoids = self.values[:, : 2 * size]
        self.of_input_gate, self.of_forget_gate, self.of_candidate, self.of_output_gate = self.gradients.chunk(4, 1)
        self.of_state, self.tanh, self.product = cells.new_empty(3, rows, size).unbind()

    def forward(
        self,
        gates: torch.Tensor,
        cell: torch.Tensor,
        activated: torch.Tensor,
        new_cell: torch.Tensor,
        new_state: torch.Tensor,
    ) -> None:
        """Writes into the last three arguments."""
        self.values.copy_(gates)
        self.sigmoids.sigmoid_()
        self.candidate.tanh_()
        self.output_gate.sigmoid_()
        activated.copy_(self.values)
        torch.mul(self.forget_gate, cell, out=new_cell).addcmul_(self.input_gate, self.candidate)
        new_state.copy_(torch.tanh(new_cell, out=self.candidate).mul_(self.output_gate))

    def backward(
        self,
        activated: torch.Tensor,
        cell: torch.Tensor,
        new_cell: torch.Tensor,
        of_cell: torch.Tensor,
        of_gates: torch.Tensor,
    ) -> None:
        """
        From the gradient of the new state, in `of_state`, and that of the new cell, `of_cell`, which that of the old
        cell is written over; into `of_gates`.
        """
        self.values.copy_(activated)
        torch.tanh(new_cell, out=self.tanh)
        self._through_sigmoid(self.of_state, self.tanh, self.output_gate, self.of_output_gate)
        self.of_state *= self.output_gate
        of_cell += torch.ops.aten.tanh_backward.grad_input(self.of_state, self.tanh, grad_input=self.of_state)
        self._through_sigmoid(of_cell, self.candidate, self.input_gate, self.of_input_gate)
        self._through_sigmoid(of_cell, cell, self.forget_gate, self.of_forget_gate)
        torch.mul(of_cell, self.input_gate, out=self.product)
        torch.ops.aten.tanh_backward.grad_input(self.product, self.candidate, grad_input=self.of_candidate)
        of_cell *= self.forget_gate
        of_gates.copy_(self.gradients)

    def _through_sigmoid(
        self, gradient: torch.Tensor, factor: torch.Tensor, gate: torch.Tensor, out: torch.Tensor
    ) -> None:
        torch.mul(gradient, factor, out=self.product)
        torch.ops.aten.sigmoid_backward.grad_input(self.product, gate, grad_input=out)


class _LSTMLayer(torch.autograd.Function):
    """
    Steps come first in all shapes. What a step keeps for the backward pass are its gates, its cell and its state. The
    matrices' gradients are one product each, after the last step.
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
        buffers, weight = _Gates(cells), weight_hh.t()
        of_steps = (tensor.unbind() for tensor in (gates, states[:-1], cells[:-1], cells[1:], states[1:]))
        for step_gates, old_state, old_cell, new_cell, new_state in zip(*of_steps, strict=True):
            buffers.forward(step_gates.addmm_(old_state, weight), old_cell, step_gates, new_cell, new_state)
        ctx.save_for_backward(inputs, weight_ih, weight_hh, gates, states, cells)
        return states[1:], cells[-1].clone()  # which does not keep those before it

    @staticmethod
    @first_derivative_only
    def backward(ctx, of_states, of_cell):
        inputs, weight_ih, weight_hh, gates, states, cells = ctx.saved_tensors
        steps, rows, size = of_states.shape
        of_gates = new_aligned(gates, gates.shape, gates.dtype)
        buffers, of_cell, later = _Gates(cells), of_cell.clone(), torch.zeros_like(states[0])
        of_steps = (tensor.unbind() for tensor in (gates, cells[:-1], cells[1:], of_gates, of_states))
        for activated, old_cell, new_cell, step_gradient, of_output in reversed(list(zip(*of_steps, strict=True))):
            torch.add(of_output, later, out=buffers.of_state)
            buffers.backward(activated, old_cell, new_cell, of_cell, step_gradient)
            torch.mm(step_gradient, weight_hh, out=later)
        flat = of_gates.flatten(0, 1)
        _, needs_inputs, _, _, needs_weight_ih, needs_weight_hh, _ = ctx.needs_input_grad
        gradients = [
            (flat @ weight_ih).unflatten(0, (steps, rows)) if needs_inputs else None,
            later,
            transposed_product(flat, inputs.flatten(0, 1)) if needs_weight_ih else None,
            transposed_product(flat, states[:-1].flatten(0, 1)) if needs_weight_hh else None,
            flat.sum(0),
        ]
        of_inputs, of_hidden, *of_weights = (
            None if value is None else value.to(dtype) for value, dtype in zip(gradients, ctx.dtypes, strict=True)
        )
        return None, of_inputs, of_hidden, of_cell, *of_weights
