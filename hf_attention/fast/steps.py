"""What the steps of a recurrence share, with gradients that take less time than those of one operation a step."""

import torch

from .products import transposed_product
from .reasons import first_derivative_only, may_form_gradients


class StepProduct:
    r"""
    \\( y_t = b_t + \sum_i x_{i,t} M_i \\) at each step of a recurrence, where \\( x_{i,t} \\) waits for what came of
    \\( y_{t-1} \\).

    Autograd would form \\( x_t^\top \nabla y_t \\) at every step and add it to a sum as large as the matrix. Here
    \\( \nabla M = \sum_t x_t^\top \nabla y_t \\) is one product, when the backward pass has been through all steps.
    The inputs are kept as long as the graph is. Second derivatives are refused.

    Args:
        bases (`torch.Tensor` of shape `(rows, steps, outputs)`): \\( b_t \\), known before the first step.
        matrices (`torch.Tensor` of shape `(inputs, outputs)`): \\( M_i \\).
    """

    def __init__(self, bases: torch.Tensor, *matrices: torch.Tensor):
        self.matrices = matrices
        self.inputs: list[list[tuple[torch.Tensor, int]]] | None = None
        if may_form_gradients() and any(matrix.requires_grad for matrix in matrices):
            self.matrices = [matrix.detach() for matrix in matrices]
            self.inputs = [[] for _ in matrices]
            bases = _MatrixGradients.apply(bases, self.inputs, *matrices)
        # Unbound before the loop: slicing would build a full zero gradient at each step.
        self.bases = iter(bases.unbind(1))

    def __call__(self, *inputs: torch.Tensor) -> torch.Tensor:
        """
        The next step.

        Args:
            inputs (`torch.Tensor` of shape `(rows, inputs)`): \\( x_{i,t} \\), one for each matrix.

        Returns:
            `torch.Tensor` of shape `(rows, outputs)`: \\( y_t \\).
        """
        outputs = next(self.bases)
        for number, (input, matrix) in enumerate(zip(inputs, self.matrices, strict=True)):
            outputs = torch.addmm(outputs, input, matrix)
            if self.inputs is not None:
                self.inputs[number].append((input.detach(), input._version))
        return outputs


class _MatrixGradients(torch.autograd.Function):
    """Gives back the bases. Their gradients are those of all steps, which with the inputs make the matrices'."""

    @staticmethod
    def forward(ctx, bases, inputs, *matrices):
        ctx.inputs, ctx.dtypes = inputs, [matrix.dtype for matrix in matrices]
        ctx.are_transposed = [matrix.stride(0) < matrix.stride(1) for matrix in matrices]
        return bases.view_as(bases)

    @staticmethod
    @first_derivative_only
    def backward(ctx, gradient):
        products = [None] * len(ctx.inputs)
        flat = gradient.flatten(0, 1)
        for number, inputs_and_versions in enumerate(ctx.inputs):
            if ctx.needs_input_grad[number + 2]:
                if any(input._version != version for input, version in inputs_and_versions):
                    raise RuntimeError("An input of a step has been modified in place since the forward pass.")
                inputs = [input for input, _ in inputs_and_versions]
                stacked = torch.stack(inputs, 1).to(gradient.dtype).flatten(0, 1)
                # In the order of the matrix in memory: to turn a large gradient round takes long.
                is_transposed = ctx.are_transposed[number]
                product = transposed_product(flat, stacked).mT if is_transposed else transposed_product(stacked, flat)
                products[number] = product.to(ctx.dtypes[number])
        return gradient, None, *products
