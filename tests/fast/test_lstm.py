"""A layer of an LSTM against PyTorch's own."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from hf_attention.fast.lstm import lstm_layer
from hf_attention.fast.reasons import prefers_own_lstm


ROWS, STEPS, INPUTS, SIZE = 3, 5, 4, 6


def make(dtype: torch.dtype = torch.float64) -> tuple[nn.LSTM, list[torch.Tensor]]:
    """PyTorch's LSTM; inputs, hidden state, cell, both matrices and the bias."""
    torch.manual_seed(0)
    lstm = nn.LSTM(INPUTS, SIZE, batch_first=True, dtype=dtype)
    nn.init.zeros_(lstm.bias_hh_l0)
    shapes = (ROWS, STEPS, INPUTS), (ROWS, SIZE), (ROWS, SIZE)
    tensors = [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]
    return lstm, [*tensors, lstm.weight_ih_l0, lstm.weight_hh_l0, lstm.bias_ih_l0]


def by_torch(lstm: nn.LSTM, inputs, hidden, cell) -> tuple[torch.Tensor, torch.Tensor]:
    outputs, (_, cell) = lstm(inputs, (hidden.unsqueeze(0), cell.unsqueeze(0)))
    return outputs, cell.squeeze(0)


def loss_of(outputs: torch.Tensor, cell: torch.Tensor) -> torch.Tensor:
    return outputs.double().sin().sum() + (outputs[:, -1].double() * cell.double()).sum()


def test_values_and_gradients_are_those_of_torch():
    lstm, tensors = make()
    results, expected = lstm_layer(*tensors), by_torch(lstm, *tensors[:3])
    assert_close(results, expected)
    for _ in range(2):  # the graph may be gone through again
        gradients = torch.autograd.grad(loss_of(*results), tensors, retain_graph=True)
        assert_close(gradients, torch.autograd.grad(loss_of(*expected), tensors, retain_graph=True))


@pytest.mark.parametrize("part", [0, 1])
def test_gradients_of_states_or_cell_alone(part: int):
    lstm, tensors = make()
    gradients = [
        torch.autograd.grad(results[part].sin().sum(), tensors)
        for results in (lstm_layer(*tensors), by_torch(lstm, *tensors[:3]))
    ]
    assert_close(*gradients)


@pytest.mark.parametrize("frozen", range(6))
def test_what_is_frozen_has_no_gradient_and_the_rest_its_own(frozen: int):
    lstm, tensors = make()
    tensors[frozen].requires_grad_(False)
    trained = [tensor for tensor in tensors if tensor.requires_grad]
    gradients = [
        torch.autograd.grad(loss_of(*results), trained)
        for results in (lstm_layer(*tensors), by_torch(lstm, *tensors[:3]))
    ]
    assert_close(*gradients)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_it_rounds_as_that_does(dtype: torch.dtype):
    lstm, tensors = make(torch.float32)
    assert not prefers_own_lstm(tensors[0])
    with torch.autocast("cpu", dtype):
        assert prefers_own_lstm(tensors[0])
        outputs, cell = lstm_layer(*tensors)
        with torch.no_grad():
            assert not prefers_own_lstm(tensors[0])
    assert (outputs.dtype, cell.dtype) == (dtype, torch.float32)
    expected = by_torch(lstm, *tensors[:3])
    assert_close(outputs.float(), expected[0], rtol=0, atol=0.01)
    assert_close(cell, expected[1], rtol=0, atol=0.01)
    gradients = torch.autograd.grad(loss_of(outputs, cell), tensors)
    for gradient, right in zip(gradients, torch.autograd.grad(loss_of(*expected), tensors), strict=True):
        assert gradient.dtype == torch.float32
        assert_close(gradient, right, rtol=0, atol=0.02 * right.abs().max().item())


def test_the_last_cell_does_not_keep_those_before_it():
    _, tensors = make()
    _, cell = lstm_layer(*tensors)
    assert cell.untyped_storage().nbytes() == cell.numel() * cell.element_size()


def test_a_second_derivative_is_refused():
    _, tensors = make()
    with pytest.raises(RuntimeError, match="fast.disable"):
        torch.autograd.grad(lstm_layer(*tensors)[0].sin().sum(), tensors[3], create_graph=True)
