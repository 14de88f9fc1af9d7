"""Products inside a recurrence, whose matrices get their gradients at once."""

import torch
from torch.autograd.function import once_differentiable


class StepProduct:
    r"""
    \\( y_t = b_t + \sum_i x_{i,t} M_i \\) at each step of a recurrence, where \\( x_{i,t} \\) waits for what came of
    \\( y_{t-1} \\).

    Autograd would form \\( x_t^\top \nabla y_t \\) at every step and add it to a sum as large as the matrix. Here
    \\( \nabla M = \sum_t x_t^\top \nabla y_t \\) is one product, when the backward pass has been through all steps.

    Args:
        bases (`torch.Tensor` of shape `(*batch, rows, steps, outputs)`): \\( b_t \\), known before the first step.
        matrices (`torch.Tensor` of shape `(*batch, inputs, outputs)`): \\( M_i \\).
    """

    def __init__(self, bases: torch.Tensor, *matrices: torch.Tensor):
        self.matrices = matrices
        self.inputs: list[list[torch.Tensor]] | None = None
        needs_gradients = torch.is_grad_enabled() and any(matrix.requires_grad for matrix in matrices)
        if needs_gradients and not torch.compiler.is_compiling():
            self.matrices = [matrix.detach() for matrix in matrices]
            self.inputs = [[] for _ in matrices]
            bases = _MatrixGradients.apply(bases, self.inputs, *matrices)
        # Unbound before the loop: slicing would build a full zero gradient at each step.
        self.bases = iter(bases.unbind(-2))

    def __call__(self, *inputs: torch.Tensor) -> torch.Tensor:
        """
        The next step.

        Args:
            inputs (`torch.Tensor` of shape `(*batch, rows, inputs)`): \\( x_{i,t} \\), one for each matrix.

        Returns:
            `torch.Tensor` of shape `(*batch, rows, outputs)`: \\( y_t \\).
        """
        outputs = next(self.bases)
        for number, (input, matrix) in enumerate(zip(inputs, self.matrices, strict=True)):
            is_matrix = matrix.ndim == 2
            outputs = torch.addmm(outputs, input, matrix) if is_matrix else outputs + torch.matmul(input, matrix)
            if self.inputs is not None:
                self.inputs[number].append(input.detach())
        return outputs


class _MatrixGradients(torch.autograd.Function):
    """Gives back the bases. Their gradients are those of all steps, which with the inputs make the matrices'."""

    @staticmethod
    def forward(ctx, bases, inputs, *matrices):
        ctx.inputs, ctx.dtypes = inputs, [matrix.dtype for matrix in matrices]
        return bases.view_as(bases)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        products = [None] * len(ctx.inputs)
        for number, (inputs, dtype) in enumerate(zip(ctx.inputs, ctx.dtypes, strict=True)):
            if ctx.needs_input_grad[number + 2]:
                stacked = torch.stack(inputs, -2).to(gradient.dtype).flatten(-3, -2)
                products[number] = torch.matmul(stacked.mT, gradient.flatten(-3, -2)).to(dtype)
        return gradient, None, *products
