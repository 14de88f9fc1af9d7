"""What the steps of a recurrence share, with gradients that take less time than those of one operation a step."""

import torch
from torch.autograd.function import once_differentiable


class StepProduct:
    r"""
    \\( y_t = b_t + \sum_i x_{i,t} M_i \\) at each step of a recurrence, where \\( x_{i,t} \\) waits for what came of
    \\( y_{t-1} \\).

    Autograd would form \\( x_t^\top \nabla y_t \\) at every step and add it to a sum as large as the matrix. Here
    \\( \nabla M = \sum_t x_t^\top \nabla y_t \\) is one product, when the backward pass has been through all steps.
    The inputs are kept as long as the graph is. Second derivatives and `torch.func` are refused.

    Args:
        bases (`torch.Tensor` of shape `(*batch, rows, steps, outputs)`): \\( b_t \\), known before the first step.
        matrices (`torch.Tensor` of shape `(*batch, inputs, outputs)`): \\( M_i \\).
    """

    def __init__(self, bases: torch.Tensor, *matrices: torch.Tensor):
        self.matrices = matrices
        self.inputs: list[list[tuple[torch.Tensor, int]]] | None = None
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
                self.inputs[number].append((input.detach(), input._version))
        return outputs


class StepTanh:
    r"""
    \\( \tanh(k + q_t) \\) at each step of a recurrence.

    Half precision is computed in float32 on a processor, which takes half the time, and the gradients of \\( k \\) are
    summed in it.

    Args:
        keys (`torch.Tensor` of shape `(batch, positions, size)`): \\( k \\).
    """

    def __init__(self, keys: torch.Tensor):
        self.dtype = keys.dtype
        is_half = keys.dtype in (torch.bfloat16, torch.float16) and keys.device.type == "cpu"
        self.in_float32 = is_half and not torch.compiler.is_compiling()
        self.keys = (keys.float() if self.in_float32 else keys).unsqueeze(1)
        self.scratch: torch.Tensor | None = None

    def __call__(self, query: torch.Tensor) -> torch.Tensor:
        """
        The next step.

        Args:
            query (`torch.Tensor` of shape `(batch, queries, size)`): \\( q_t \\).

        Returns:
            `torch.Tensor` of shape `(batch, queries, positions, size)`: in the dtype of the keys.
        """
        query = query.unsqueeze(2)
        if not self.in_float32:
            return (self.keys + query).tanh_()  # the largest tensor of a step: no second one of its size
        if self.scratch is None:
            self.scratch = torch.empty_like(self.keys.expand(-1, query.shape[1], -1, -1))
        return _TanhOfSum.apply(self.keys, query, self.scratch, self.dtype)


class _TanhOfSum(torch.autograd.Function):
    """Computes in `scratch`, memory that is there already, and keeps nothing but the result in half precision."""

    @staticmethod
    def forward(ctx, keys, query, scratch, dtype):
        outputs = torch.add(keys, query, out=scratch).tanh_().to(dtype)
        ctx.save_for_backward(outputs)
        ctx.keys_shape = keys.shape
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        [outputs] = ctx.saved_tensors
        gradient = torch.ops.aten.tanh_backward(gradient, outputs)
        return gradient.sum_to_size(ctx.keys_shape).float(), gradient.sum(2, keepdim=True), None, None


class _MatrixGradients(torch.autograd.Function):
    """Gives back the bases. Their gradients are those of all steps, which with the inputs make the matrices'."""

    @staticmethod
    def forward(ctx, bases, inputs, *matrices):
        ctx.inputs, ctx.dtypes = inputs, [matrix.dtype for matrix in matrices]
        ctx.are_transposed = [matrix.stride(-2) < matrix.stride(-1) for matrix in matrices]
        return bases.view_as(bases)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        products = [None] * len(ctx.inputs)
        flat = gradient.flatten(-3, -2)
        for number, inputs_and_versions in enumerate(ctx.inputs):
            if ctx.needs_input_grad[number + 2]:
                if any(input._version != version for input, version in inputs_and_versions):
                    raise RuntimeError("An input of a step has been modified in place since the forward pass.")
                inputs = [input for input, _ in inputs_and_versions]
                stacked = torch.stack(inputs, -2).to(gradient.dtype).flatten(-3, -2)
                # In the order of the matrix in memory: to turn a large gradient round takes long.
                turned = ctx.are_transposed[number]
                product = torch.matmul(flat.mT, stacked).mT if turned else torch.matmul(stacked.mT, flat)
                products[number] = product.to(ctx.dtypes[number])
        return gradient, None, *products
