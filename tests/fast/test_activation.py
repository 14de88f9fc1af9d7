"""The hyperbolic tangent by way of the sigmoid."""

import math

import torch
from torch.testing import assert_close

from hf_attention import fast
from hf_attention.fast import activation
from hf_attention.models.activation import tanh


@torch.no_grad()
def test_it_is_the_tangent_to_rounding():
    numbers = torch.cat([torch.linspace(-20, 20, 10001), torch.logspace(-30, 2, 1000), torch.tensor([math.inf, 0.0])])
    with fast.enable():
        found = tanh(numbers)
    assert_close(found.double(), numbers.double().tanh(), rtol=0, atol=2e-7)
    assert activation.tanh(torch.tensor([math.nan])).isnan().all()


def test_with_gradients_and_in_other_dtypes_it_is_pytorchs():
    assert activation.tanh(torch.randn(3)) is NotImplemented
    with torch.no_grad():
        assert activation.tanh(torch.randn(3).double()) is NotImplemented
        assert activation.tanh(torch.randn(3).bfloat16()) is NotImplemented
