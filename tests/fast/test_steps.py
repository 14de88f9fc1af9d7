import gc
import weakref

import pytest
import torch
from common.factories import FACTORIES, make_tokens
from torch.testing import assert_close

from hf_attention.fast.steps import StepProduct


ROWS, STEPS, INPUTS, FED, OUTPUTS = 3, 4, 5, 2, 5


def recurrence(bases: torch.Tensor, matrix: torch.Tensor, fed_matrix: torch.Tensor, product) -> torch.Tensor:
    """A state that goes through both matrices at every step; `product` makes what takes a step."""
    step = product(bases, matrix, fed_matrix)
    state = bases.new_ones(ROWS, INPUTS)
    states = []
    for _ in range(STEPS):
        state = step(state, state[:, :FED].square()).tanh()
        states.append(state)
    return torch.stack(states, 1)


def plain(bases: torch.Tensor, *matrices: torch.Tensor):
    steps = iter(range(STEPS))

    def step(*inputs: torch.Tensor) -> torch.Tensor:
        base = bases[:, next(steps)]
        return base + sum(input @ matrix for input, matrix in zip(inputs, matrices, strict=True))

    return step


def make() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = (ROWS, STEPS, OUTPUTS), (INPUTS, OUTPUTS), (FED, OUTPUTS)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


def test_values_and_gradients_are_those_of_a_product_at_every_step():
    tensors = make()
    outputs, expected = recurrence(*tensors, StepProduct), recurrence(*tensors, plain)
    assert_close(outputs, expected)
    loss, expected_loss = (states.sin().sum() for states in (outputs, expected))
    # Twice over the same graph, and for some of the tensors alone: nothing is left behind.
    torch.autograd.grad(loss, tensors[0], retain_graph=True)
    torch.autograd.grad(outputs[:, 0].sum(), tensors, retain_graph=True)
    assert_close(torch.autograd.grad(loss, tensors), torch.autograd.grad(expected_loss, tensors))


def test_a_matrix_without_gradient_gets_none():
    bases, matrix, fed_matrix = make()
    gradients = [
        torch.autograd.grad(recurrence(bases, matrix, fed_matrix.detach(), product).sum(), (bases, matrix))
        for product in (StepProduct, plain)
    ]
    assert_close(*gradients)
    with torch.no_grad():
        assert not recurrence(bases, matrix, fed_matrix, StepProduct).requires_grad


def test_a_second_derivative_is_refused():
    tensors = make()
    with pytest.raises(RuntimeError, match="fast.disable"):
        torch.autograd.grad(recurrence(*tensors, StepProduct).sum(), tensors[1], create_graph=True)


def test_an_input_that_is_modified_afterwards_is_refused():
    bases, matrix, _ = make()
    step, state = StepProduct(bases, matrix), torch.ones(ROWS, INPUTS, dtype=torch.float64)
    output = step(state)
    state.zero_()
    with pytest.raises(RuntimeError, match="modified in place"):
        output.sum().backward()


def test_a_graph_that_is_not_used_is_freed():
    """What a step keeps must not keep the graph behind it, and so itself, alive."""
    bases, matrix, _ = make()
    step = StepProduct(bases, matrix)
    state = step(torch.ones(ROWS, INPUTS, dtype=torch.float64))
    step(state)
    watched = weakref.ref(state)
    gc.disable()
    try:
        del step, state
        assert watched() is None
    finally:
        gc.enable()


def test_a_frozen_captioner_can_be_mapped():
    """Nothing is trained: attention is plain operations, which `torch.func` follows."""
    model = FACTORIES[0].make_model().requires_grad_(False)
    features, tokens = torch.randn(3, 2, 5, 9), make_tokens(2, 4)

    def logits(features: torch.Tensor) -> torch.Tensor:
        return model(region_features=features, decoder_input_ids=tokens).logits

    assert_close(torch.func.vmap(logits)(features), torch.stack([*map(logits, features)]))
