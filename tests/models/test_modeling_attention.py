"""What every model does for those who look into it, copy it or spread it over devices."""

import inspect
import re
from collections.abc import Callable

import pytest
import torch
from accelerate import infer_auto_device_map
from accelerate.utils import compute_module_sizes
from common.factories import make_tokens, over_encoder_decoders
from common.steps import Step, over_steps, without_dropout
from torch import nn
from torch.testing import assert_close
from transformers import MobileNetV2Model
from transformers.models.bert.modeling_bert import BertLayer
from transformers.models.vit.modeling_vit import ViTLayer

from hf_attention import AttentionDecoder
from hf_attention.models.question_attention import QuestionAttention
from hf_attention.models.text_encoder import TextEncoder


# Nobody calls lists of modules, and transformers neither all of its dropouts nor the stages of a ResNet.
SILENT = (nn.ModuleList, nn.ModuleDict, nn.Dropout)
STAGE = re.compile(r"stages\.\d+\.layers$")


WHOLE = (
    AttentionDecoder,
    TextEncoder,
    QuestionAttention,
    # What transformers names of a ViT and a BERT; of a MobileNet it names nothing.
    ViTLayer,
    BertLayer,
    MobileNetV2Model,
)


def names_that_fire(model: nn.Module, run: Callable[[], object]) -> set[str]:
    fired = set()
    hooks = [
        module.register_forward_hook(lambda *_, name=name: fired.add(name)) for name, module in model.named_modules()
    ]
    run()
    for hook in hooks:
        hook.remove()
    return fired


@over_steps
@pytest.mark.parametrize("training", [True, False])
def test_hooks_fire_everywhere(make_step: Callable[[], Step], training: bool) -> None:
    model, inputs = make_step()
    fired = names_that_fire(model.train(training), lambda: model(**inputs))
    silent = {name for name, module in model.named_modules() if isinstance(module, SILENT) or STAGE.search(name)}
    assert not {name for name, _ in model.named_modules()} - fired - silent


@over_steps
def test_gradients_can_be_watched_where_they_pass_the_recurrence(make_step: Callable[[], Step]) -> None:
    model, inputs = make_step()
    calls = []
    decoders = [module for module in model.modules() if isinstance(module, AttentionDecoder)]
    for decoder in decoders:
        decoder.rnn.register_full_backward_hook(lambda *call: calls.append(call))
    model.train()(**inputs).loss.backward()
    assert bool(calls) == bool(decoders)


@over_steps
@pytest.mark.parametrize("training", [True, False])
def test_watching_changes_nothing(make_step: Callable[[], Step], training: bool) -> None:
    model, inputs = make_step()
    without_dropout(model).train(training)
    losses = [model(**inputs).loss]
    names_that_fire(model, lambda: losses.append(model(**inputs).loss))
    assert_close(*losses)


def replica_of(module: nn.Module) -> nn.Module:
    """As `torch.nn.parallel.replicate` makes them: no parameters, but tensors by their names."""
    replica = module._replicate_for_data_parallel()
    replica._former_parameters = {}
    for name, child in module._modules.items():
        replica._modules[name] = None if child is None else replica_of(child)
    for name, parameter in module._parameters.items():
        if parameter is None:
            replica._parameters[name] = None
        else:
            replica._former_parameters[name] = parameter.view_as(parameter)
            setattr(replica, name, replica._former_parameters[name])
    for name, buffer in module._buffers.items():
        replica._buffers[name] = None if buffer is None else buffer.clone()
    return replica


@over_steps
@pytest.mark.parametrize("training", [True, False])
def test_a_replica_computes_the_same(make_step: Callable[[], Step], training: bool) -> None:
    model, inputs = make_step()
    without_dropout(model).train(training)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    replica = replica_of(model)
    assert not list(replica.parameters())
    results = []
    for each in (model, replica):
        outputs = each(**inputs)
        # `gather` joins what both replicas return, and knows no cache.
        assert not {"cache", "past_key_values"} & set(outputs)
        results.append([outputs.loss, *torch.autograd.grad(outputs.loss, trained, allow_unused=True)])
    assert_close(*results)


@over_steps
def test_a_plan_for_two_devices_cuts_no_part(make_step: Callable[[], Step]) -> None:
    model, _ = make_step()
    sizes = compute_module_sizes(model)
    parts = [name for name, module in model.named_modules() if isinstance(module, WHOLE)]
    assert parts
    places = set()
    for share in range(1, 20):
        limits = {"cpu": sizes[""] * share // 20, "disk": 2 * sizes[""]}
        plan = infer_auto_device_map(model, limits, no_split_module_classes=model._no_split_modules)
        places.add(len(set(plan.values())))
        for part in parts:
            assert len({place for name, place in plan.items() if name.startswith(f"{part}.")}) < 2, (part, plan)
    assert 2 in places or max(sizes[part] for part in parts) > sizes[""] / 2


@over_encoder_decoders
def test_tuples_are_as_they_were(factory) -> None:
    """The mask of the memory, for which the base model's output has a place, comes with no other output."""
    model, inputs = factory.make_model(), factory.make_inputs(2)
    tokens = make_tokens(2, 3)
    for training in (False, True):
        outputs = model.train(training).model(**inputs, decoder_input_ids=tokens, output_attentions=True)
        assert outputs.memory_mask is None
        assert list(outputs.to_tuple()) == list(outputs.values())
        values = model.model(**inputs, decoder_input_ids=tokens, output_attentions=True, return_dict=False)
        assert isinstance(values, tuple) and len(values) == len(outputs)


@over_steps
def test_forward_says_what_it_takes(make_step: Callable[[], Step]) -> None:
    model, inputs = make_step()
    parameters = inspect.signature(model.forward).parameters
    assert set(inputs) <= set(parameters)
    named = [each for each in parameters.values() if each.kind is not each.VAR_KEYWORD]
    assert all(
        each.annotation is not each.empty and each.default is not each.empty
        for each in named
        if each.name != "past_key_values"
    )
