import copy
import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from hf_attention.training.loop.nt_asgd import NTASGD


def run(optimizer: torch.optim.Optimizer, model: nn.Module, steps: int, seed: int = 0) -> list[torch.Tensor]:
    """The weights after each step."""
    generator = torch.Generator().manual_seed(seed)
    weights = []
    for _ in range(steps):
        optimizer.zero_grad()
        inputs = torch.randn(4, 3, generator=generator, dtype=torch.double)
        model(inputs).square().sum().backward()
        optimizer.step()
        weights.append(model.weight.detach().clone())
    return weights


@pytest.fixture
def model() -> nn.Linear:
    return nn.Linear(3, 2).double()


def test_before_the_trigger_it_is_plain_sgd(model: nn.Linear):
    twin = copy.deepcopy(model)
    optimizer = NTASGD(model.parameters(), lr=0.02, weight_decay=0.1)
    mine = run(optimizer, model, 5)
    for one, other in zip(mine, run(torch.optim.SGD(twin.parameters(), 0.02, weight_decay=0.1), twin, 5), strict=True):
        assert_close(one, other)
    assert not optimizer.is_averaging
    with optimizer.averaged():
        assert model.weight.equal(mine[-1])


@pytest.mark.parametrize(
    ("losses", "triggered"),
    [
        ([5, 4, 6], False),  # nothing to compare with yet
        ([5, 4, 3, 6], True),  # worse than 5
        ([5, 4, 3, 4.5], False),  # 4 is too recent
        ([5, 4, 3, 3.5, 4.5], True),  # worse than 4
        ([5, 4, 3, 2, 1], False),
    ],
)
def test_the_trigger_compares_with_the_best_up_to_some_epochs_before(model: nn.Linear, losses: list, triggered: bool):
    optimizer = NTASGD(model.parameters(), lr=0.01, interval=2)
    for loss in losses:
        assert not optimizer.is_averaging
        run(optimizer, model, 1)
        optimizer.observe(loss)
    assert optimizer.is_averaging == triggered


def test_after_the_trigger_the_weights_are_averaged(model: nn.Linear):
    optimizer = NTASGD(model.parameters(), lr=0.01, interval=1)
    run(optimizer, model, 3)
    for loss in (1.0, 2.0, 3.0):
        optimizer.observe(loss)
    assert optimizer.is_averaging
    weights = run(optimizer, model, 6, seed=1)
    with optimizer.averaged():
        assert_close(model.weight.detach(), torch.stack(weights).mean(0))
        raised = model.weight.detach().clone()
    assert model.weight.equal(weights[-1]) and not model.weight.equal(raised)


@pytest.mark.parametrize("averaging", [False, True])
def test_it_goes_on_from_its_state(model: nn.Linear, averaging: bool):
    optimizer = NTASGD(model.parameters(), lr=0.01, interval=1)
    run(optimizer, model, 2)
    for loss in (1.0, 2.0, 3.0)[: 3 if averaging else 1]:
        optimizer.observe(loss)
    run(optimizer, model, 2, seed=1)
    twin = copy.deepcopy(model)
    other = NTASGD(twin.parameters(), lr=0.01, interval=1)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert other.is_averaging == averaging and other.param_groups[0]["t0"] in (math.inf, 1.0)
    for one, weights in ((optimizer, model), (other, twin)):
        one.observe(7.0)
        run(one, weights, 3, seed=2)
    with optimizer.averaged(), other.averaged():
        assert model.weight.equal(twin.weight)
