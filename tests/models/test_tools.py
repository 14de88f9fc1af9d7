"""What the tools of others do to a model: it stays what it is, on both sides of the door."""

import copy
import pickle
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from accelerate import cpu_offload
from common.every_model import Example, forward_inputs, outputs_of, over_every_model
from torch import nn
from torch.ao.quantization import quantize_dynamic
from torch.testing import assert_close

from hf_attention import fast


RECURRENT = {nn.LSTM, nn.GRU}


@pytest.fixture(params=["fast", "plain"], autouse=True)
def side(request: pytest.FixtureRequest):
    with nullcontext() if request.param == "fast" else fast.disable():
        yield


# What puts the weights elsewhere


@over_every_model()
def test_offloaded_to_the_processors_memory(make_example: Callable[[], Example]) -> None:
    model, inputs = make_example()
    expected = outputs_of(model, inputs)
    cpu_offload(model)
    assert all(parameter.is_meta for parameter in model.parameters())
    assert_close(outputs_of(model, inputs), expected)


@over_every_model()
@pytest.mark.parametrize("whole", [True, False])
def test_offloaded_to_the_disk(make_example: Callable[[], Example], whole: bool, tmp_path: Path) -> None:
    model, inputs = make_example()
    expected = outputs_of(model, inputs)
    model.save_pretrained(tmp_path)
    children = [name for name, child in model.named_children() if list(child.parameters())]
    device_map = {"": "disk"} if whole else {name: ("disk", "cpu")[at % 2] for at, name in enumerate(children)}
    loaded = type(model).from_pretrained(tmp_path, device_map=device_map, offload_folder=tmp_path / "offloaded")
    assert any(parameter.is_meta for parameter in loaded.parameters())
    assert_close(outputs_of(loaded, inputs), expected)


# What puts other modules in place of them


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated")
@over_every_model()
@pytest.mark.parametrize("kinds", [{nn.Linear}, RECURRENT, {nn.Linear, *RECURRENT}], ids=["linear", "rnn", "both"])
def test_quantised(make_example: Callable[[], Example], kinds: set[type[nn.Module]]) -> None:
    model, inputs = make_example()
    logits, *_ = outputs_of(model, inputs)
    quantised = quantize_dynamic(model, kinds)
    results = outputs_of(quantised, inputs)
    assert (results[0] - logits).square().mean().sqrt() < 0.1 * logits.std()
    assert_close(outputs_of(copy.deepcopy(quantised), inputs), results)


# What copies them


@over_every_model()
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copied(make_example: Callable[[], Example], copied: Callable[[nn.Module], nn.Module]) -> None:
    model, inputs = make_example()
    expected = outputs_of(model, inputs)
    other = copied(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert_close(outputs_of(other, inputs), expected)


@over_every_model()
@torch.no_grad()
def test_called_with_other_weights(make_example: Callable[[], Example]) -> None:
    model, inputs = make_example()
    weights = copy.deepcopy(model.state_dict())
    expected, *_ = outputs_of(model, inputs)
    for parameter in model.parameters():
        parameter.zero_()
    outputs = torch.func.functional_call(model, weights, (), forward_inputs(model, inputs))
    assert_close(outputs.logits, expected)


# What records what they do


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@over_every_model()
@torch.no_grad()
def test_traced(make_example: Callable[[], Example]) -> None:
    model, inputs = make_example()
    inputs = forward_inputs(model, inputs)

    class Traced(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return self.model(**dict(zip(inputs, values, strict=True)), return_dict=False, use_cache=False)[:1]

    traced = torch.jit.trace(Traced(), tuple(inputs.values()))
    for given in (inputs, {name: value.flip(0) for name, value in inputs.items()}):  # other lengths, too
        assert_close(traced(*given.values())[0], model(**given).logits)


# In PyTorch 2.6 the last state of an LSTM that is exported has a dimension too many.
@pytest.mark.skipif(not hasattr(torch.onnx, "ops"), reason="needs PyTorch 2.8 or newer")
@over_every_model()
@torch.no_grad()
def test_exported(make_example: Callable[[], Example]) -> None:
    model, inputs = make_example()
    inputs = forward_inputs(model, inputs)

    class Exported(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
            return self.model(**inputs, use_cache=False).logits

    exported = torch.export.export(Exported(), (inputs,), strict=False).module()
    for given in (inputs, {name: value.flip(0) for name, value in inputs.items()}):  # other lengths, too
        assert_close(exported(given), model(**given).logits)


@over_every_model()
@torch.no_grad()
def test_checks_of_numbers_are_still_made(make_example: Callable[[], Example]) -> None:
    model, inputs = make_example()
    masks = [name for name in ("attention_mask", "region_mask") if name in inputs]
    for mask in masks:
        empty = {**inputs, mask: torch.zeros_like(inputs[mask])}
        with pytest.raises(ValueError, match="there is nothing to"):
            model(**forward_inputs(model, empty))
