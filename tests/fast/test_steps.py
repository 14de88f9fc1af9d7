import gc
import weakref

import pytest
import torch
from common.factories import FACTORIES, make_tokens
from torch.testing import assert_close

from hf_attention.fast import steps
from hf_attention.fast.steps import StepProduct, StepScores


ROWS, STEPS, INPUTS, FED, OUTPUTS = 3, 4, 5, 2, 5


def recurrence(bases: torch.Tensor, matrix: torch.Tensor, fed_matrix: torch.Tensor, product) -> torch.Tensor:
    """A state that goes through both matrices at every step; `product` makes what takes a step."""
    step = product(bases, matrix, fed_matrix)
    state = bases.new_ones(*bases.shape[:-2], INPUTS)
    states = []
    for _ in range(STEPS):
        state = step(state, state[..., :FED].square()).tanh()
        states.append(state)
    return torch.stack(states, -2)


def plain(bases: torch.Tensor, *matrices: torch.Tensor):
    steps = iter(range(STEPS))

    def step(*inputs: torch.Tensor) -> torch.Tensor:
        base = bases[..., next(steps), :]
        return base + sum(input @ matrix for input, matrix in zip(inputs, matrices, strict=True))

    return step


def make(batch: tuple[int, ...]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = (*batch, ROWS, STEPS, OUTPUTS), (*batch, INPUTS, OUTPUTS), (*batch, FED, OUTPUTS)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_values_and_gradients_are_those_of_a_product_at_every_step(batch):
    tensors = make(batch)
    outputs, expected = recurrence(*tensors, StepProduct), recurrence(*tensors, plain)
    assert_close(outputs, expected)
    loss, expected_loss = (states.sin().sum() for states in (outputs, expected))
    # Twice over the same graph, and for some of the tensors alone: nothing is left behind.
    torch.autograd.grad(loss, tensors[0], retain_graph=True)
    torch.autograd.grad(outputs[..., 0, :].sum(), tensors, retain_graph=True)
    assert_close(torch.autograd.grad(loss, tensors), torch.autograd.grad(expected_loss, tensors))


def test_a_matrix_without_gradient_gets_none():
    bases, matrix, fed_matrix = make(())
    gradients = [
        torch.autograd.grad(recurrence(bases, matrix, fed_matrix.detach(), product).sum(), (bases, matrix))
        for product in (StepProduct, plain)
    ]
    assert_close(*gradients)
    with torch.no_grad():
        assert not recurrence(bases, matrix, fed_matrix, StepProduct).requires_grad


def test_a_second_derivative_is_refused():
    tensors = make(())
    with pytest.raises(RuntimeError, match="fast.disable"):
        torch.autograd.grad(recurrence(*tensors, StepProduct).sum(), tensors[1], create_graph=True)


def test_an_input_that_is_modified_afterwards_is_refused():
    bases, matrix, _ = make(())
    step, state = StepProduct(bases, matrix), torch.ones(ROWS, INPUTS, dtype=torch.float64)
    output = step(state)
    state.zero_()
    with pytest.raises(RuntimeError, match="modified in place"):
        output.sum().backward()


def looks(keys: torch.Tensor, weight: torch.Tensor, queries: torch.Tensor, scores) -> torch.Tensor:
    """A query that waits for how the last one scored the keys; `scores` makes what takes a step."""
    step, added, outputs = scores(keys, weight, queries.shape[2], len(queries)), 0, []
    for query in queries:
        outputs.append(step(query + added))
        added = outputs[-1].mean(-1, keepdim=True).to(query.dtype)
    return torch.stack(outputs)


def plain_scores(keys: torch.Tensor, weight: torch.Tensor, queries: int, steps: int):
    return lambda query: (keys.unsqueeze(1) + query.unsqueeze(2)).tanh() @ weight


def make_looks(dtype: torch.dtype, queries: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = (3, 5, 4), (4,), (STEPS, 3, queries, 4)
    return [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("queries", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_scores_of_keys_and_queries(monkeypatch, dtype: torch.dtype, queries: int, rows: int):
    """Whole, and a few rows at a time."""
    bytes_of_a_row = queries * 5 * 4 * torch.promote_types(dtype, torch.float32).itemsize
    monkeypatch.setattr(steps, "SCRATCH_BYTES", rows * bytes_of_a_row)
    tensors = make_looks(dtype, queries)
    exact = [tensor.detach().double().requires_grad_() for tensor in tensors]
    outputs, expected = looks(*tensors, StepScores), looks(*exact, plain_scores)
    tolerance = {"rtol": 0, "atol": 1e-5 if dtype.itemsize >= 4 else 0.05 if dtype == torch.bfloat16 else 0.01}
    assert outputs.dtype == torch.promote_types(dtype, torch.float32)
    assert_close(outputs.double(), expected, **tolerance)
    # Of a part alone and then of everything, twice: nothing is left behind.
    torch.autograd.grad(outputs.sum(), tensors[2], retain_graph=True)
    torch.autograd.grad(outputs[0].sum(), tensors, retain_graph=True)
    loss, expected_loss = outputs.double().sin().sum(), expected.sin().sum()
    for _ in range(2):
        gradients = torch.autograd.grad(loss, tensors, retain_graph=True)
        expected_gradients = torch.autograd.grad(expected_loss, exact, retain_graph=True)
        for gradient, right in zip(gradients, expected_gradients, strict=True):
            assert gradient.dtype == dtype
            assert_close(gradient.double(), right, rtol=0, atol=tolerance["atol"] * right.abs().max().item())


@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_scores_of_what_is_frozen(frozen: int):
    tensors = make_looks(torch.float64, 2)
    tensors[frozen].requires_grad_(False)
    trained = [tensor for tensor in tensors if tensor.requires_grad]
    gradients = [
        torch.autograd.grad(looks(*tensors, scores).sin().sum(), trained) for scores in (StepScores, plain_scores)
    ]
    assert_close(*gradients)


def test_scores_of_no_positions():
    keys, weight, queries = make_looks(torch.float64, 2)
    score = StepScores(keys[:, :0], weight, 2, STEPS)
    scores = score(queries[0])
    assert scores.shape == (3, 2, 0)
    [gradient] = torch.autograd.grad(scores.sum(), queries)
    assert not gradient.any()


def test_a_weight_that_is_modified_before_the_backward_pass_is_refused():
    keys, weight, queries = make_looks(torch.float64, 1)
    outputs = looks(keys, weight, queries, StepScores)
    with torch.no_grad():
        weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        outputs.sum().backward()


def test_a_backward_pass_within_another_over_the_same_graph():
    gradients = []
    for scores in (StepScores, plain_scores):
        tensors = make_looks(torch.float64, 2)
        outputs = looks(*tensors, scores)
        inner = []

        def go_backward(_, outputs=outputs, tensors=tensors, inner=inner):
            inner.extend(torch.autograd.grad(outputs[0].sin().sum(), tensors, retain_graph=True))

        query = tensors[2] * 1
        outputs = looks(*tensors[:2], query, scores)
        outputs[1].register_hook(go_backward)
        gradients.append((*torch.autograd.grad(outputs.cos().sum(), tensors, retain_graph=True), *inner))
    assert_close(*gradients)


def test_a_backward_pass_inside_autocast_rounds_nothing():
    tensors = [tensor.detach().float().requires_grad_() for tensor in make_looks(torch.float64, 2)]
    gradients = []
    for inside in (False, True):
        loss = looks(*tensors, StepScores).softmax(-1).square().sum()
        with torch.autocast("cpu", torch.bfloat16, enabled=inside):
            gradients.append(torch.autograd.grad(loss, tensors))
    assert_close(*gradients)


def test_a_graph_that_is_not_used_is_freed():
    """What a step keeps must not keep the graph behind it, and so itself, alive."""
    bases, matrix, _ = make(())
    keys, weight, queries = make_looks(torch.float64, 1)
    step, score = StepProduct(bases, matrix), StepScores(keys, weight, 1, STEPS)
    state, scores = step(torch.ones(ROWS, INPUTS, dtype=torch.float64)), score(queries[0])
    step(state)
    watched = [weakref.ref(thing) for thing in (state, scores, score.sums)]
    gc.disable()
    try:
        del step, state, score, scores
        assert [reference() for reference in watched] == [None] * 3
    finally:
        gc.enable()


def test_a_frozen_captioner_can_be_mapped():
    """Nothing is trained: attention is plain operations, which `torch.func` follows."""
    model = FACTORIES[0].make_model().requires_grad_(False)
    features, tokens = torch.randn(3, 2, 5, 9), make_tokens(2, 4)

    def logits(features: torch.Tensor) -> torch.Tensor:
        return model(region_features=features, decoder_input_ids=tokens).logits

    assert_close(torch.func.vmap(logits)(features), torch.stack([*map(logits, features)]))
