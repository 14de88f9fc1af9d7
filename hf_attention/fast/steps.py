"""What the steps of a recurrence share, with gradients that take less time than those of one operation a step."""

import torch

from .products import transposed_product
from .reasons import first_derivative_only, may_form_gradients


# Bytes of a step's largest tensor that are worked on at a time: few enough to stay in a processor's cache.
SCRATCH_BYTES = 2**20


class StepProduct:
    r"""
    \\( y_t = b_t + \sum_i x_{i,t} M_i \\) at each step of a recurrence, where \\( x_{i,t} \\) waits for what came of
    \\( y_{t-1} \\).

    Autograd would form \\( x_t^\top \nabla y_t \\) at every step and add it to a sum as large as the matrix. Here
    \\( \nabla M = \sum_t x_t^\top \nabla y_t \\) is one product, when the backward pass has been through all steps.
    The inputs are kept as long as the graph is. Second derivatives are refused.

    Args:
        bases (`torch.Tensor` of shape `(*batch, rows, steps, outputs)`): \\( b_t \\), known before the first step.
        matrices (`torch.Tensor` of shape `(*batch, inputs, outputs)`): \\( M_i \\).
    """

    def __init__(self, bases: torch.Tensor, *matrices: torch.Tensor):
        self.matrices = matrices
        self.inputs: list[list[tuple[torch.Tensor, int]]] | None = None
        if may_form_gradients() and any(matrix.requires_grad for matrix in matrices):
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


class StepScores:
    r"""
    \\( v^\top \tanh(k_j + q_t) \\) at each step of a recurrence, on a processor.

    The largest tensors of a step: they are computed in float32 at least, a few rows at a time in memory that stays in
    the processor's cache, and nothing but the tanh is kept, in the dtype of the keys. The gradients of \\( k \\) and
    \\( v \\) are summed in place. Second derivatives are refused.

    Args:
        keys (`torch.Tensor` of shape `(batch, positions, size)`): \\( k \\).
        weight (`torch.Tensor` of shape `(size)`): \\( v \\).
        queries (`int`): Queries to each memory of the batch, at each step.
        steps (`int`): Number of steps.
    """

    def __init__(self, keys: torch.Tensor, weight: torch.Tensor, queries: int, steps: int):
        self.sums = _ScoreSums(keys, weight, queries)
        zeros = self.sums.keys.new_zeros(()).expand(len(keys), queries, steps, keys.shape[1])
        self.zeros = iter(_ScoreGradients.apply(zeros, self.sums, keys, weight).unbind(-2))

    def __call__(self, query: torch.Tensor) -> torch.Tensor:
        """
        The next step.

        Args:
            query (`torch.Tensor` of shape `(batch, queries, size)`): \\( q_t \\).

        Returns:
            `torch.Tensor` of shape `(batch, queries, positions)`: at least float32.
        """
        return _Scores.apply(next(self.zeros), query, self.sums)


class _ScoreSums:
    """The keys, the weight, and what the steps of each backward pass add up: of the keys and of the weight."""

    def __init__(self, keys: torch.Tensor, weight: torch.Tensor, queries: int):
        dtype = torch.promote_types(keys.dtype, torch.float32)
        self.kept_dtype = keys.dtype
        self.keys, self.weight = keys.detach().to(dtype), weight.detach().to(dtype)
        row = queries * keys.shape[1] * keys.shape[2]
        self.rows = max(SCRATCH_BYTES // max(row * dtype.itemsize, 1), 1)
        self.scratch_size = min(self.rows, len(keys)) * row
        self.passes: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def new_scratch(self) -> torch.Tensor:
        return self.keys.new_empty(self.scratch_size)

    def of_this_pass(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The sums of the backward pass that is under way, zero at its first step."""
        backward_pass = torch._C._current_graph_task_id()
        if backward_pass not in self.passes:
            self.passes[backward_pass] = torch.zeros_like(self.keys), torch.zeros_like(self.weight)
        return self.passes[backward_pass]

    def end_pass(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Its sums, which are forgotten."""
        return self.passes.pop(torch._C._current_graph_task_id())


class _Scores(torch.autograd.Function):
    """One step: its gradient, `s`, goes to the zeros of all steps; `s * (1 - tanh²) * v` to query and keys."""

    @staticmethod
    def forward(ctx, zero, query, sums):
        ctx.sums, ctx.query_dtype = sums, query.dtype
        query, scratch = query.to(sums.keys.dtype).unsqueeze(2), sums.new_scratch()
        shape = *zero.shape, query.shape[-1]
        tanh, scores = query.new_empty(shape, dtype=sums.kept_dtype), query.new_empty(zero.shape)
        for keys, queries, kept, chunk in zip(
            *(tensor.split(sums.rows) for tensor in (sums.keys, query, tanh, scores)), strict=True
        ):
            values = scratch[: kept.numel()].view(kept.shape)
            torch.add(keys.unsqueeze(1), queries, out=values).tanh_()
            torch.mv(values.flatten(0, 2), sums.weight, out=chunk.view(-1))
            kept.copy_(values)
        ctx.save_for_backward(tanh, sums.weight)
        return scores

    @staticmethod
    @first_derivative_only
    def backward(ctx, gradient):
        (tanh, weight), sums = ctx.saved_tensors, ctx.sums
        (of_all_keys, of_weight), scratch = sums.of_this_pass(), sums.new_scratch()
        gradient = gradient.contiguous()
        of_query = gradient.new_empty(*gradient.shape[:2], 1, len(weight))
        for of_keys, kept, of_queries, chunk in zip(
            *(tensor.split(sums.rows) for tensor in (of_all_keys, tanh, of_query, gradient)), strict=True
        ):
            values = scratch[: kept.numel()].view(kept.shape).copy_(kept)
            of_weight.addmv_(values.flatten(0, 2).t(), chunk.view(-1))
            squares = values.mul_(values)
            # Not `matmul`, which autocast would round where the backward pass is inside it.
            torch.bmm(chunk.flatten(0, 1).unsqueeze(1), squares.flatten(0, 1), out=of_queries.flatten(0, 1))
            for query in range(chunk.shape[1]):
                of_keys.addcmul_(chunk[:, query].unsqueeze(-1), squares[:, query], value=-1)
        of_query = (gradient.sum(-1, keepdim=True) - of_query.squeeze(2)) * weight
        return gradient, of_query.to(ctx.query_dtype), None


class _ScoreGradients(torch.autograd.Function):
    """Gives back the zeros. Their gradient comes last, when the sums are complete."""

    @staticmethod
    def forward(ctx, zeros, sums, keys, weight):
        ctx.sums, ctx.dtypes = sums, (keys.dtype, weight.dtype)
        ctx.save_for_backward(sums.weight)
        return zeros.view_as(zeros)

    @staticmethod
    @first_derivative_only
    def backward(ctx, gradient):
        [weight], (of_keys, of_weight) = ctx.saved_tensors, ctx.sums.end_pass()
        of_keys = of_keys.add_(gradient.sum((1, 2)).unsqueeze(-1)).mul_(weight)
        return None, None, of_keys.to(ctx.dtypes[0]), of_weight.to(ctx.dtypes[1])


class _MatrixGradients(torch.autograd.Function):
    """Gives back the bases. Their gradients are those of all steps, which with the inputs make the matrices'."""

    @staticmethod
    def forward(ctx, bases, inputs, *matrices):
        ctx.inputs, ctx.dtypes = inputs, [matrix.dtype for matrix in matrices]
        ctx.are_transposed = [matrix.stride(-2) < matrix.stride(-1) for matrix in matrices]
        return bases.view_as(bases)

    @staticmethod
    @first_derivative_only
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
                is_transposed = ctx.are_transposed[number]
                product = transposed_product(flat, stacked).mT if is_transposed else transposed_product(stacked, flat)
                products[number] = product.to(ctx.dtypes[number])
        return gradient, None, *products
