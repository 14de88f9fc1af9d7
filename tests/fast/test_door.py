"""Every part of `fast` computes what `models` has written, wherever it does not decline."""

import itertools
import os
import subprocess
import sys

import pytest
import torch
from common.factories import FACTORIES, generation_inputs, over_models
from common.tiny_captioner import IMAGE_SIZE
from common.tiny_captioner import make_model as make_captioner
from torch import nn
from torch.nn.utils import parametrize
from torch.testing import assert_close

from hf_attention import fast
from hf_attention.fast import reasons, steps
from hf_attention.models import door


SETTINGS = [
    {},
    {"rnn_type": "gru"},
    {"num_hidden_layers": 2},
    {"attention_type": "dot"},
    {"attention_type": "general"},
    {"attention_type": "scaled_dot", "num_attention_heads": 2},
    {"attention_order": "after_rnn"},
    {"attention_order": "after_rnn", "input_feeding": True},
    {"coverage": True},
]
LABELS = torch.tensor([[5, 3, 5, -100], [4, 6, 5, 3]])


def loss_and_gradients(factory, model, inputs):
    inputs = inputs if factory.has_encoder else {"input_ids": LABELS.clamp(min=0)}
    loss = model(**inputs, labels=LABELS).loss
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return loss, torch.autograd.grad(loss, trained, allow_unused=True)


@over_models
@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: "-".join(map(str, settings.values())) or "default")
def test_losses_and_gradients_are_those_of_the_plain_models(factory, settings):
    """In float64, where nothing but the order of sums may differ."""
    if "coverage" in settings and not factory.has_encoder:
        pytest.skip("coverage is of a memory")
    model, inputs = factory.to_double(factory.make_model(**settings).train(), factory.make_inputs(2))
    quick = loss_and_gradients(factory, model, inputs)
    with fast.disable():
        plain = loss_and_gradients(factory, model, inputs)
    assert_close(quick, plain)


def test_every_part_is_taken(monkeypatch):
    """Each function of `fast` replaces its plain one in one of the models' steps, rather than decline."""
    taken = set()

    def counting(name, way):
        def count(*args, **kwargs):
            result = way(*args, **kwargs)
            if result is not NotImplemented:
                taken.add(name)
            return result

        return count

    with fast.enable():
        for name, way in list(door.WAYS.items()):
            monkeypatch.setitem(door.WAYS, name, counting(name, way))
        for factory, order in itertools.product(FACTORIES, ("before_rnn", "after_rnn")):
            model = factory.make_model(embedding_dropout=0.5, rnn_type="lstm", attention_order=order).train()
            inputs = factory.make_inputs(2)
            loss_and_gradients(factory, model, inputs)
            with torch.autocast("cpu", torch.bfloat16):
                loss_and_gradients(factory, model, inputs)
            model.eval().generate(**generation_inputs(model, inputs, None, None), num_beams=2, max_new_tokens=20)
        make_captioner(backbone="resnet").get_encoder().extract_regions(torch.randn(1, 3, IMAGE_SIZE, IMAGE_SIZE))
    assert taken == {way.__name__ for ways in fast.PARTS.values() for way in ways}


@over_models
def test_training_in_half_precision_is_near_the_plain_one(factory):
    model, inputs = factory.make_model().train(), factory.make_inputs(2)
    with torch.autocast("cpu", torch.bfloat16):
        quick, quick_gradients = loss_and_gradients(factory, model, inputs)
    with fast.disable():
        exact, gradients = loss_and_gradients(factory, model, inputs)
    assert_close(quick, exact, rtol=0.02, atol=0)
    for near, right in zip(quick_gradients, gradients, strict=True):
        if right is not None:
            assert_close(near, right, rtol=0, atol=0.1 * right.abs().max().item() + 1e-3)


@over_models
@pytest.mark.parametrize("num_beams", [1, 3])
def test_what_is_generated_is_the_same(factory, num_beams: int):
    model, inputs = factory.to_double(factory.make_model(), factory.make_inputs(2))
    settings = {"num_beams": num_beams, "max_new_tokens": 6, "output_scores": True, "return_dict_in_generate": True}
    given = generation_inputs(model, inputs, None, None)
    quick = model.generate(**given, **settings)
    with fast.disable():
        plain = model.generate(**given, **settings)
    assert torch.equal(quick.sequences, plain.sequences)
    assert_close(quick.scores, plain.scores)


@over_models
def test_what_others_keep_is_left_to_them(factory):
    """With gradient checkpointing nothing is kept beside it; a step forms the same gradients."""
    model, inputs = factory.to_double(factory.make_model().train(), factory.make_inputs(2))
    expected = loss_and_gradients(factory, model, inputs)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor):
        assert not reasons.may_form_gradients()
        assert_close(loss_and_gradients(factory, model, inputs), expected)


@over_models
def test_with_gradient_checkpointing_no_inputs_of_steps_are_kept(factory, monkeypatch):
    model, inputs = factory.make_model(rnn_type="lstm").train(), factory.make_inputs(2)
    kept = []
    apply = steps._MatrixGradients.apply
    monkeypatch.setattr(steps._MatrixGradients, "apply", lambda *args: kept.append(args[1]) or apply(*args))
    with fast.enable():
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        loss_and_gradients(factory, model, inputs)
        assert not kept
        model.gradient_checkpointing_disable()
        loss_and_gradients(factory, model, inputs)
    assert bool(kept) == (model.model.decoder.attends_before or model.config.input_feeding)


@over_models
def test_each_part_can_be_turned_off_by_itself(factory):
    model, inputs = factory.to_double(factory.make_model().train(), factory.make_inputs(2))
    expected = loss_and_gradients(factory, model, inputs)
    for part in fast.PARTS:
        with fast.disable(part):
            assert not fast.is_enabled(part)
            assert_close(loss_and_gradients(factory, model, inputs), expected)
        with fast.disable(), fast.enable(part):
            assert fast.is_enabled(part)
            assert_close(loss_and_gradients(factory, model, inputs), expected)


def test_the_switch():
    before = dict(door.WAYS)
    try:
        fast.disable()
        assert not door.WAYS
        fast.enable()
        assert set(door.WAYS) == {way.__name__ for ways in fast.PARTS.values() for way in ways}
        with pytest.raises(ValueError, match="must be of activation, .* got speed"):
            fast.disable("speed")
    finally:
        door.WAYS.clear()
        door.WAYS.update(before)


@pytest.mark.parametrize(
    "wish, said", [("0", "False"), ("1", "True"), ("yes", "HF_ATTENTION_FAST must be 0 or 1, got 'yes'.")]
)
def test_the_environment_decides(wish: str, said: str):
    code = "import hf_attention.models.door as door; print(bool(door.WAYS))"
    environment = {**os.environ, "HF_ATTENTION_FAST": wish}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (done.stdout + done.stderr).strip().endswith(said)


def as_replica(linear: nn.Linear) -> None:
    """As `nn.DataParallel` makes one: its tensors are attributes, and it has no parameters."""
    vars(linear).update(vars(linear._replicate_for_data_parallel()), _parameters={})


class Negative(nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return -weight


@pytest.mark.parametrize(
    "change",
    [
        lambda linear: linear.register_forward_hook(lambda *call: None),
        lambda linear: linear.register_forward_pre_hook(lambda *call: None),
        lambda linear: linear.register_full_backward_hook(lambda *call: None),
        lambda linear: setattr(linear, "forward", linear.forward),
        lambda linear: setattr(linear, "extra_repr", linear.extra_repr),
        lambda linear: parametrize.register_parametrization(linear, "weight", Negative()),
        lambda linear: linear.to("meta"),
        lambda linear: linear._parameters.update(weight=linear.weight.detach()),
        as_replica,
    ],
    ids=["hook", "pre_hook", "backward_hook", "wrapped", "method", "parametrised", "offloaded", "tensor", "replica"],
)
def test_what_more_than_computes_is_called(change):
    linear = nn.Linear(2, 3)
    assert reasons.may_replace(linear, types=(nn.Linear,))
    change(linear)
    assert not reasons.may_replace(linear, types=(nn.Linear,))


def test_a_hook_on_all_modules_is_called():
    handle = nn.modules.module.register_module_forward_hook(lambda *call: None)
    try:
        assert not reasons.may_replace(nn.Linear(2, 3), types=(nn.Linear,))
    finally:
        handle.remove()


@over_models
def test_torch_func_gives_the_same_gradients(factory):
    model, inputs = factory.to_double(factory.make_model().train(), factory.make_inputs(2))
    inputs.pop("attention_mask", None)  # PyTorch has no `torch.func` of packed sequences
    _, expected = loss_and_gradients(factory, model, inputs)
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    inputs = inputs if factory.has_encoder else {"input_ids": LABELS.clamp(min=0)}

    def loss_of(parameters):
        return torch.func.functional_call(model, parameters, (), {**inputs, "labels": LABELS}, tie_weights=False).loss

    found = torch.func.grad(loss_of)(trained)
    for value, right in zip(found.values(), expected, strict=True):
        assert_close(value, torch.zeros_like(value) if right is None else right)


@over_models
def test_second_derivatives_are_refused_in_words_and_known_plainly(factory):
    model, inputs = factory.to_double(factory.make_model().train(), factory.make_inputs(2))
    inputs = inputs if factory.has_encoder else {"input_ids": LABELS.clamp(min=0)}

    parts = [model.lm_head.weight, model.model.decoder.rnn.weight_hh_l0]

    def second_derivatives():
        loss = model(**inputs, labels=LABELS).loss
        gradients = torch.autograd.grad(loss, parts, create_graph=True)
        return torch.autograd.grad(sum(gradient.square().sum() for gradient in gradients), parts)

    with pytest.raises(RuntimeError, match="fast.disable"):
        second_derivatives()
    with fast.disable():
        assert all(derivative.any() for derivative in second_derivatives())
