"""What a model makes of its decoder's states: the loss in training, loss and logits elsewhere."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from hf_attention.models.prediction import predict_tokens


STATES = torch.randn(2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([[3, 1, 2, -100], [6, -100, 0, 4]])
HEAD = nn.Linear(5, 7, dtype=torch.float64)
SMOOTHED = {"label_smoothing": 0.2}


def summed(smoothing: float = 0.0) -> torch.Tensor:
    logits = HEAD(STATES).flatten(0, 1)
    return F.cross_entropy(logits, LABELS.flatten(), reduction="sum", label_smoothing=smoothing)


@pytest.mark.parametrize("kept", [0, 2, torch.tensor([1, 3])], ids=["all", "last", "some"])
@pytest.mark.parametrize("training", [True, False])
def test_without_labels_there_are_logits(training: bool, kept: int | torch.Tensor) -> None:
    loss, logits = predict_tokens(STATES, HEAD, None, training=training, logits_to_keep=kept, **SMOOTHED)
    assert loss is None
    assert_close(logits, HEAD(STATES)[:, slice(-kept, None) if isinstance(kept, int) else kept])


@pytest.mark.parametrize("kept", [0, 2, torch.tensor([1, 3])], ids=["all", "last", "some"])
def test_in_evaluation_there_are_both_and_nothing_is_smoothed(kept: int | torch.Tensor) -> None:
    loss, logits = predict_tokens(STATES, HEAD, LABELS, training=False, logits_to_keep=kept, **SMOOTHED)
    assert_close(loss, summed() / 6, check_dtype=False)
    assert_close(logits, HEAD(STATES)[:, slice(-kept, None) if isinstance(kept, int) else kept])


def test_in_training_there_is_the_loss() -> None:
    loss, logits = predict_tokens(STATES, HEAD, LABELS, training=True, **SMOOTHED)
    assert logits is None
    assert_close(loss, summed(0.2) / 6)


def test_the_loss_has_a_gradient_with_respect_to_the_logits() -> None:
    loss, logits = predict_tokens(STATES, HEAD, LABELS, training=False, label_smoothing=0.0)
    [gradient] = torch.autograd.grad(loss, logits)
    is_target = (LABELS != -100).unsqueeze(-1)
    expected = (logits.softmax(-1) - F.one_hot(LABELS.clamp(min=0), logits.shape[-1])) * is_target / is_target.sum()
    assert_close(gradient, expected, check_dtype=False)


@pytest.mark.parametrize("training", [True, False])
def test_weighted_labels_have_a_loss_alone(training: bool) -> None:
    """Smoothed in training only."""
    weights = torch.full(LABELS.shape, 0.5, dtype=torch.float64)
    loss, logits = predict_tokens(STATES, HEAD, LABELS, training=training, token_weights=weights, **SMOOTHED)
    assert logits is None
    assert_close(loss, 0.5 * summed(0.2 if training else 0.0) / 6)


@pytest.mark.parametrize("items", [12, torch.tensor(12)], ids=["number", "tensor"])
@pytest.mark.parametrize("training", [True, False])
def test_sum_and_penalty_are_divided_together(training: bool, items: int | torch.Tensor) -> None:
    loss, _ = predict_tokens(
        STATES,
        HEAD,
        LABELS,
        training=training,
        label_smoothing=0.0,
        num_items_in_batch=items,
        penalty=torch.tensor(6.0),
    )
    assert_close(loss, (summed() + 6) / 12, check_dtype=False, rtol=1e-6, atol=1e-6)


def test_no_label_counts() -> None:
    loss, _ = predict_tokens(STATES, HEAD, torch.full_like(LABELS, -100), training=False, label_smoothing=0.0)
    assert loss == 0
