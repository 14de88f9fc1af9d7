import pytest
import torch
from torch.testing import assert_close

from hf_attention.step_product import StepProduct


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
    [gradient] = torch.autograd.grad(recurrence(*tensors, StepProduct).sum(), tensors[1], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
