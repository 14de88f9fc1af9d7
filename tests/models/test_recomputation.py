"""Gradient checkpointing: the same gradients, computed twice."""

from collections.abc import Callable

import pytest
import torch
from common.factories import over_models
from common.steps import Step, over_steps
from torch import nn
from torch.testing import assert_close
from transformers import PreTrainedModel

from hf_attention import AttentionDecoder
from hf_attention.models.text_encoder import TextEncoder


RECURRENT = (AttentionDecoder, TextEncoder)


def enable(model: PreTrainedModel, **kwargs) -> None:
    """By the name that this transformers has for it."""
    getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)(**kwargs)


def disable(model: PreTrainedModel) -> None:
    getattr(model, "activation_checkpointing_disable", model.gradient_checkpointing_disable)()


def gradients(model: PreTrainedModel, inputs: dict) -> list[torch.Tensor | None]:
    """Loss and gradients, with the same dropout every time."""
    torch.manual_seed(0)
    loss = model(**inputs).loss
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [loss, *torch.autograd.grad(loss, trained, allow_unused=True)]


@over_steps
def test_gradients_are_equal(make_step: Callable[[], Step]) -> None:
    model, inputs = make_step()
    recurrent = [module for module in model.train().modules() if isinstance(module, RECURRENT)]
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.1
        elif isinstance(module, nn.BatchNorm2d):
            module.eval()  # its statistics would move with every pass
    calls = []
    for module in recurrent:
        module.register_forward_pre_hook(lambda module, _: calls.append(module))
    expected = gradients(model, inputs)
    assert len(calls) == len(recurrent)
    enable(model)
    assert_close(gradients(model, inputs), expected)
    assert len(calls) == 3 * len(recurrent)
    disable(model)
    assert_close(gradients(model, inputs), expected)
    assert len(calls) == 4 * len(recurrent)


@over_models
def test_of_either_kind(factory) -> None:
    """The kind that torch calls reentrant does not see arguments passed by name."""
    model, inputs = factory.make_model().train(), factory.make_inputs(3)
    inputs["labels"] = (
        torch.tensor([[5, 6, 3], [7, 3, -100], [8, 9, 10]]) if factory.has_encoder else inputs["input_ids"]
    )
    expected = gradients(model, inputs)
    kwargs = {"use_reentrant": True}
    if hasattr(model, "activation_checkpointing_enable"):
        enable(model, activation_checkpointing_kwargs=kwargs)
    else:
        enable(model, gradient_checkpointing_kwargs=kwargs)
    assert_close(gradients(model, inputs), expected)


@over_models
def test_a_state_is_not_moved_on_twice(factory) -> None:
    model, inputs = factory.make_model(), factory.make_inputs(1)
    tokens = {"decoder_input_ids": torch.tensor([[2, 5]])} if factory.has_encoder else {}
    expected = model.generate(**inputs, max_new_tokens=4, do_sample=False)
    enable(model.train())
    with pytest.raises(ValueError, match="gradient checkpointing .* pass no `cache` and no `use_cache=True`"):
        model(**inputs, **tokens, use_cache=True)
    # Without a backward pass nothing is run twice.
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    assert torch.equal(model.generate(**inputs, max_new_tokens=4, do_sample=False), expected)
