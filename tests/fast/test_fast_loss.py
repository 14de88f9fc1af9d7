import pytest
import torch
from common.factories import END, VOCABULARY
from torch.testing import assert_close

from hf_attention import fast
from hf_attention.fast import loss
from hf_attention.models.loss import summed_token_loss


LABELS = torch.tensor([[5, 7, END, -100], [6, END, -100, -100], [9, 8, 7, END], [4, 4, END, -100]])


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_gradients_are_those_of_autograd(monkeypatch, parts, bias, weighted, smoothing):
    """The gradients formed in the forward pass, in chunks and parts, against autograd's."""
    monkeypatch.setattr(loss, "CHUNK_SIZE", 3)
    monkeypatch.setattr(loss, "KEPT_BYTES", 8 * VOCABULARY * (4 if parts == 3 else 100))
    monkeypatch.setattr(loss, "KEPT_POSITIONS", 3)
    states = torch.randn(4, 4, 5, dtype=torch.float64, requires_grad=True)
    head = torch.nn.Linear(5, VOCABULARY, bias=bias, dtype=torch.float64)
    weights = torch.randn(4, 4, dtype=torch.float64) if weighted else None

    def loss_and_gradients():
        value = 2 * summed_token_loss(states, head, LABELS, smoothing, weights)
        return value, *torch.autograd.grad(value, (states, *head.parameters()))

    formed = loss_and_gradients()
    with fast.disable():
        assert_close(formed, loss_and_gradients())


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_gradients_in_half_precision_are_near_those_in_float32(monkeypatch, dtype, parts, bias, weighted, smoothing):
    """Positions that are no multiple of any size."""
    monkeypatch.setattr(loss, "CHUNK_SIZE", 128)
    monkeypatch.setattr(loss, "SCRATCH_BYTES", 4 * 37 * 30)
    monkeypatch.setattr(loss, "KEPT_BYTES", 2 * 37 * (64 if parts == 3 else 1000))
    monkeypatch.setattr(loss, "KEPT_POSITIONS", 128)
    torch.manual_seed(0)
    states = torch.randn(300, 33).requires_grad_()
    head = torch.nn.Linear(33, 37, bias=bias)
    labels = torch.randint(0, 37, (300,)).masked_fill(torch.rand(300) < 0.2, -100)
    weights = torch.rand(300) if weighted else None
    expected = summed_token_loss(states, head, labels, smoothing, weights)
    with torch.autocast("cpu", dtype):
        value = summed_token_loss(states.to(dtype), head, labels, smoothing, weights)
    assert_close(value, expected, rtol=0.01, atol=0)
    tensors = (states, *head.parameters())
    gradients, expected_gradients = (torch.autograd.grad(result, tensors) for result in (value, expected))
    for gradient, right in zip(gradients, expected_gradients, strict=True):
        assert_close(gradient, right, rtol=0, atol=0.02 * right.abs().max().item())


def test_parts_of_bfloat16_are_summed_in_float32(monkeypatch):
    head = torch.nn.Linear(16, 50)
    states, labels = torch.randn(1, 4096, 16).bfloat16(), torch.randint(0, 50, (1, 4096))

    def weight_gradient():
        with torch.autocast("cpu", torch.bfloat16):
            value = summed_token_loss(states, head, labels)
        return torch.autograd.grad(value, head.weight)[0]

    whole = weight_gradient()
    monkeypatch.setattr(loss, "KEPT_BYTES", 1)  # a chunk at a time
    assert_close(weight_gradient(), whole, rtol=0, atol=0.004 * whole.abs().max().item())
