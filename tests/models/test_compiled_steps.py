"""Generation whose steps are compiled: the same tokens, one program for all steps, and what happens without one."""

import copy

import pytest
import torch
from common.factories import FACTORIES, SEQ2SEQ, set_bias, take
from common.strategies import generate, make_prefix
from torch.testing import assert_close
from transformers import CompileConfig

from hf_attention.models import compiled_steps, generation
from hf_attention.models.cache import RecurrentCache
from hf_attention.models.modeling_attention_ensemble import AttentionEnsembleForConditionalGeneration


RECURRENT_LM = FACTORIES[-1]
SETTINGS = [
    {"context_gate": True},
    {"attention_type": "dot", "attention_order": "after_rnn", "rnn_type": "gru"},
    {"attention_type": "scaled_dot", "attention_order": "after_rnn", "num_hidden_layers": 2},
    {"attention_type": "general", "attention_order": "after_rnn", "input_feeding": True},
    {"coverage": True},
    {"attention_type": None},
]


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture
def warnings(monkeypatch):
    """What is told, of which transformers' loggers say each line once a process."""
    lines = []
    for module in (compiled_steps, generation):
        monkeypatch.setattr(module.logger, "warning", lines.append)
        monkeypatch.setattr(module.logger, "warning_once", lines.append, raising=False)
    return lines


def compiling(programs: list, backend=None) -> dict:
    """Arguments of `generate()` that compile each step as a whole, on processors too, and note each program."""

    def note(graph, inputs):
        programs.append(graph)
        return graph.forward if backend is None else backend(graph, inputs)

    config = CompileConfig(backend=note, mode=None, fullgraph=True, dynamic=False)
    config._compile_all_devices = True
    return {"cache_implementation": "static", "compile_config": config}


def assert_same_output(outputs, expected) -> None:
    assert outputs.sequences.equal(expected.sequences)
    assert_close(outputs.scores, expected.scores)
    for name in ("cross_attentions", "attentions"):
        assert_close(outputs.get(name), expected.get(name))


def check(factory, settings, strategies, **more) -> None:
    model, inputs = factory.make_model(**settings), factory.make_inputs(2)
    more["min_new_tokens"] = 4  # several steps
    for strategy in strategies:
        torch.manual_seed(1)
        expected = generate(factory, model, inputs, strategy, **more)
        programs = []
        with_compiler = compiling(programs)
        for _ in range(2):
            torch.manual_seed(1)
            assert_same_output(generate(factory, model, inputs, strategy, **more, **with_compiler), expected)
        assert len(programs) == 1, strategy


@pytest.mark.parametrize("factory", FACTORIES, ids=lambda factory: factory.name)
def test_one_program_is_every_step(factory):
    check(factory, {}, ["greedy", "beam several"])


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("factory", FACTORIES, ids=lambda factory: factory.name)
def test_one_program_is_every_step_of_all_settings(factory, settings):
    if not factory.has_encoder and ("input_feeding" in settings or "coverage" in settings):
        pytest.skip("there is no memory")
    strategies = ["greedy", "sample", "beam several", "beam sample"]
    check(factory, settings, strategies)
    check(factory, settings, strategies, output_hidden_states=True)


def test_a_sample_is_the_same():
    check(SEQ2SEQ, {"coverage": True}, ["sample"])


@pytest.mark.parametrize("factory", [SEQ2SEQ, RECURRENT_LM], ids=lambda factory: factory.name)
def test_a_mask_of_padding_has_one_shape_at_every_step(factory):
    check(factory, {}, ["greedy"], **make_prefix(2))


def test_the_members_of_an_ensemble_are_one_program():
    members = [SEQ2SEQ.make_model(), SEQ2SEQ.make_model(attention_type="general", num_hidden_layers=2)]
    model, inputs = AttentionEnsembleForConditionalGeneration.from_members(members), SEQ2SEQ.make_inputs(2)
    programs, more = [], {"min_new_tokens": 4}
    for strategy in ("greedy", "beam several"):
        outputs = generate(SEQ2SEQ, model, inputs, strategy, **more, **compiling(programs))
        assert_same_output(outputs, generate(SEQ2SEQ, model, inputs, strategy, **more))
    assert len(programs) == 2


@pytest.mark.parametrize("strategy", ["greedy", "beam several"])
def test_outputs_outlive_the_next_step(strategy):
    """A CUDA graph writes each time to the same place."""
    model, inputs = SEQ2SEQ.make_model(coverage=True), SEQ2SEQ.make_inputs(2)
    more = {"min_new_tokens": 4, "output_hidden_states": True}
    expected = generate(SEQ2SEQ, model, inputs, strategy, **more)
    places = []

    def in_one_place(graph, inputs):
        def run(*inputs):
            for place in places:  # what an earlier run gave is there no more
                place.fill_(torch.nan if place.is_floating_point() else 0)
            outputs = graph(*inputs)
            if not places:
                places.extend(outputs)
            return [place.copy_(new) for place, new in zip(places, outputs, strict=True)]

        return run

    outputs = generate(SEQ2SEQ, model, inputs, strategy, **more, **compiling([], in_one_place))
    assert len(places) > 3
    assert_same_output(outputs, expected)
    assert_close(outputs.decoder_hidden_states, expected.decoder_hidden_states)


def test_without_a_compiler_steps_are_run_as_they_are(warnings):
    def has_no_compiler(graph, inputs):
        raise RuntimeError("No working C++ compiler found\nin all of these folders")

    model, inputs = SEQ2SEQ.make_model(), SEQ2SEQ.make_inputs(2)
    programs = []
    with_compiler = compiling(programs, has_no_compiler)
    for strategy in ("greedy", "beam several"):
        outputs = generate(SEQ2SEQ, model, inputs, strategy, **with_compiler)
        assert_same_output(outputs, generate(SEQ2SEQ, model, inputs, strategy))
    assert len(programs) == 1
    assert warnings == [
        "Steps of generation cannot be compiled here, and are run as they are: No working C++ compiler found"
    ]


def test_a_copy_of_a_model_is_compiled_anew():
    model, inputs = SEQ2SEQ.make_model(), SEQ2SEQ.make_inputs(2)
    with_compiler = compiling([])
    generate(SEQ2SEQ, model, inputs, "beam several", **with_compiler)
    another = copy.deepcopy(model)
    set_bias(another, 5, 3.0)
    expected = generate(SEQ2SEQ, another, inputs, "beam several")
    assert_same_output(generate(SEQ2SEQ, another, inputs, "beam several", **with_compiler), expected)


def test_without_a_gpu_it_is_told(warnings):
    model, inputs = SEQ2SEQ.make_model(), SEQ2SEQ.make_inputs(2)
    outputs = generate(SEQ2SEQ, model, inputs, "beam several", cache_implementation="static")
    assert_same_output(outputs, generate(SEQ2SEQ, model, inputs, "beam several"))
    assert len(warnings) == 1 and "on the CPU" in warnings[0]


def test_the_models_settings_ask_for_it_too():
    model, inputs = SEQ2SEQ.make_model(), SEQ2SEQ.make_inputs(2)
    expected = generate(SEQ2SEQ, model, inputs, "greedy")
    programs = []
    for name, value in compiling(programs).items():
        setattr(model.generation_config, name, value)
    assert_same_output(generate(SEQ2SEQ, model, inputs, "greedy"), expected)
    assert len(programs) == 1


def test_generation_goes_on_from_a_returned_cache():
    model, inputs = RECURRENT_LM.make_model(), RECURRENT_LM.make_inputs(2)
    settings = {"return_dict_in_generate": True, "eos_token_id": None}
    expected = model.generate(**inputs, max_new_tokens=6, **settings).sequences
    first = model.generate(**inputs, max_new_tokens=3, cache_implementation="static", **settings)
    assert first.past_key_values.get_seq_length() == inputs["input_ids"].shape[1] + 2
    for _ in range(2):  # the second time it is at its beginning again
        rest = model.generate(first.sequences, past_key_values=first.past_key_values, max_new_tokens=3, **settings)
        assert rest.sequences.equal(expected)
        first.past_key_values.reset()
        assert first.past_key_values.get_seq_length() == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompt_lookup_num_tokens": 2}, "no state to go back to"),
        ({"past_key_values": RecurrentCache()}, "of a new cache"),
        ({"cache_implementation": "offloaded_static"}, "'offloaded_static'.*does not apply"),
    ],
)
def test_what_a_static_cache_cannot_do_is_refused(settings, message):
    model, inputs = SEQ2SEQ.make_model(), take(SEQ2SEQ.make_inputs(2), 0)
    with pytest.raises(ValueError, match=message):
        model.generate(**inputs, **{"cache_implementation": "static", **settings})
