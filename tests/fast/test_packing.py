"""Products with packed matrices, and for how long they may be packed."""

import threading

import pytest
import torch
from common.factories import generation_inputs, over_models
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from hf_attention import fast
from hf_attention.fast import packing
from hf_attention.models.linear import apply_linear, fixed_weights
from hf_attention.models.modeling_attention_ensemble import EnsembleHead
from hf_attention.models.recurrence import layers_by_step


pytestmark = pytest.mark.skipif(not packing.HAS_PACKED_PRODUCTS, reason="PyTorch without oneDNN")
ROWS = packing.ROWS_BEFORE_PACKING


@pytest.fixture
def packed(monkeypatch):
    """What has been packed."""
    made = []

    class Recorded(packing.PackedLinear):
        def __init__(self, *args):
            super().__init__(*args)
            made.append(self)

    monkeypatch.setattr(packing, "PackedLinear", Recorded)
    with fast.enable(), torch.no_grad():
        yield made


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [ROWS, 2 * ROWS + 1])
@pytest.mark.parametrize("bias", [True, False])
def test_the_product_is_that_of_the_layer(packed, dtype, rows, bias):
    if dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("no bfloat16 here")
    layer = nn.Linear(37, 51, bias=bias, dtype=dtype)
    with fixed_weights():
        for shape in ((rows, 37), (rows, 1, 37), (1, 37)):
            inputs = torch.randn(shape, dtype=dtype)
            tolerance = {} if dtype == torch.float32 else {"rtol": 0.02, "atol": 0.02}
            assert_close(apply_linear(layer, inputs), F.linear(inputs, layer.weight, layer.bias), **tolerance)
    assert len(packed) == 1


def test_few_rows_are_not_worth_it(packed):
    layer = nn.Linear(3, 4)
    with fixed_weights():
        for _ in range(ROWS - 1):
            apply_linear(layer, torch.randn(1, 3))
        assert not packed
        apply_linear(layer, torch.randn(1, 3))
        assert len(packed) == 1


def test_outside_of_a_block_and_elsewhere_nothing_is_packed(packed):
    layer, inputs = nn.Linear(3, 4), torch.randn(2 * ROWS, 3)
    apply_linear(layer, inputs)
    with fixed_weights():
        with torch.enable_grad():
            apply_linear(layer, inputs)
        with torch.autocast("cpu", torch.bfloat16):
            assert apply_linear(layer, inputs).dtype == torch.bfloat16
        with torch.backends.mkldnn.flags(enabled=False):
            apply_linear(layer, inputs)
        apply_linear(nn.Linear(3, 4).double(), inputs.double())
        hooked = nn.Linear(3, 4)
        hooked.register_forward_hook(lambda *call: None)
        apply_linear(hooked, inputs)
        others = threading.Thread(target=lambda: apply_linear(layer, inputs))
        others.start()
        others.join()
    assert not packed


def test_a_block_within_a_block_is_part_of_it(packed):
    layer, inputs = nn.Linear(3, 4), torch.randn(2 * ROWS, 3)
    with fixed_weights():
        with fixed_weights():
            apply_linear(layer, inputs)
        apply_linear(layer, inputs)
    assert len(packed) == 1


def test_the_outputs_of_an_ensemble_are_packed(packed):
    heads = [nn.Linear(3, 7), nn.Linear(5, 7)]
    head, states = EnsembleHead(heads, [3, 5]), torch.randn(ROWS, 1, 8)
    expected = head(states)
    with fixed_weights():
        assert_close(apply_linear(head, states), expected)
    assert len(packed) == 2


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("fed_size", [0, 5])
def test_a_step_is_that_of_the_layers(packed, kind, fed_size):
    """Of two layers, held against PyTorch's own over the sequence."""
    rnn, rows, steps = kind(7, 6, 2, batch_first=True).eval(), ROWS, 4
    known, fed = torch.randn(rows, steps, 7 - fed_size), torch.randn(rows, steps, fed_size)
    expected, _ = rnn(torch.cat([known, fed], -1))
    zeros = (torch.zeros(rows, 6),) * 2
    hidden, cell, outputs = zeros, zeros if kind is nn.LSTM else (), []
    with fixed_weights():
        step = layers_by_step(rnn, known)
        for known_now, fed_now in zip(known.unbind(1), fed.unbind(1), strict=True):
            hidden, cell = step(known_now, fed_now if fed_size else None, hidden, cell)
            outputs.append(hidden[-1])
    assert_close(torch.stack(outputs, 1), expected)
    assert len(packed) == (2 if kind is nn.LSTM else 4)


@over_models
@pytest.mark.parametrize("num_beams", [1, 3])
def test_weights_that_have_changed_are_seen_by_the_next_call(factory, packed, num_beams):
    """In whatever way they were changed: one does not tell PyTorch."""
    model, inputs = factory.make_model(), factory.make_inputs(30)
    given = generation_inputs(model, inputs, None, None)
    settings = {"num_beams": num_beams, "max_new_tokens": 5}
    before = model.generate(**given, **settings)
    for parameter in model.parameters():
        parameter.data.neg_()
    quick = model.generate(**given, **settings)
    assert packed
    with fast.disable():
        assert torch.equal(quick, model.generate(**given, **settings))
    assert quick.shape != before.shape or not torch.equal(quick, before)
