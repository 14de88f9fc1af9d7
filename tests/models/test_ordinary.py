"""What transformers asks of every model of its own, where no other module asks it of every one of ours."""

import copy
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from common import strategies
from common.every_model import ITEMS, MODELS, Example, forward_inputs, outputs_of, over_every_model
from common.factories import make_tokens
from common.steps import without_dropout
from safetensors.torch import save_file
from torch import nn
from torch.testing import assert_close
from transformers import GenerationMixin, PreTrainedModel
from transformers.generation import utils as generation

from hf_attention.models.image_encoder import ImageEncoder


ALL = {"output_attentions": True, "output_hidden_states": True}
WITH_A_BASE = [name for name in MODELS if name != "ensemble"]
WITH_GENERATE = [name for name in MODELS if not name.startswith("vqa_") or name == "vqa"]
STRATEGIES = {
    "greedy": {},
    "sample": {"do_sample": True, "num_return_sequences": 2},
    "beam": {"num_beams": 2},
    "beam sample": {"num_beams": 2, "do_sample": True, "num_return_sequences": 2},
}


def labelled(model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    if not model.can_generate():
        return {**inputs, "labels": torch.rand(ITEMS, model.config.num_labels)}
    return {**inputs, "labels": make_tokens(ITEMS, 4) if model.config.is_encoder_decoder else inputs["input_ids"]}


def leaves(value: Any) -> list[torch.Tensor]:
    if isinstance(value, tuple | list):
        return [leaf for each in value for leaf in leaves(each)]
    return [value] if isinstance(value, torch.Tensor) else []


def tensors_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def unending(model: PreTrainedModel) -> PreTrainedModel:
    model.config.eos_token_id = model.generation_config.eos_token_id = None
    return model


# Made, saved, loaded


@over_every_model()
def test_saved_and_loaded_again(make_example: Callable[[], Example], tmp_path: Path) -> None:
    model, inputs = make_example()
    expected = outputs_of(model, inputs)
    saved = []
    for number in range(3):
        folder = tmp_path / str(number)
        model.save_pretrained(folder)
        saved.append(json.loads((folder / "config.json").read_text()))
        assert (folder / "generation_config.json").exists() == model.can_generate()
        model = type(model).from_pretrained(folder)
        assert all(parameter.is_contiguous() for parameter in model.parameters())
        assert_close(outputs_of(model, inputs), expected)
    assert saved[1] == saved[2]  # an older transformers adds what it knows when it loads
    of_weights = type(model).from_pretrained(None, config=copy.deepcopy(model.config), state_dict=model.state_dict())
    assert_close(outputs_of(of_weights, inputs), expected)


@over_every_model()
def test_every_tensor_is_initialised_wherever_it_was_made(make_example: Callable[[], Example]) -> None:
    model, inputs = make_example()
    expected = type(model)(copy.deepcopy(model.config))
    with torch.device("meta"):
        found = type(model)(copy.deepcopy(model.config)).eval()
    found.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in tensors_of(found).values():
            tensor.fill_(torch.nan if tensor.is_floating_point() else -9)
    found.init_weights()
    assert_close(dict(found.named_buffers()), dict(expected.named_buffers()))
    for name, tensor in tensors_of(found).items():
        assert tensor.isfinite().all(), name
        if tensor.numel() > 1:
            assert (tensor.std() > 0) == (tensors_of(expected)[name].std() > 0), name
    outputs_of(found, inputs)


@over_every_model()
def test_all_that_is_missing_is_told(make_example: Callable[[], Example], tmp_path: Path) -> None:
    model, inputs = make_example()
    model.save_pretrained(tmp_path)
    save_file({"another": torch.ones(2)}, tmp_path / "model.safetensors", {"format": "pt"})
    loaded, info = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert set(info["missing_keys"]) == set(model.state_dict())
    assert set(info["unexpected_keys"]) == {"another"}
    outputs_of(loaded, inputs)


@over_every_model(*WITH_A_BASE)
def test_the_head_alone_is_missing_of_a_base_model(make_example: Callable[[], Example], tmp_path: Path) -> None:
    model, _ = make_example()
    assert model.base_model is not model
    model.base_model.save_pretrained(tmp_path)
    loaded, info = type(model).from_pretrained(tmp_path, output_loading_info=True)
    of_base = {f"{model.base_model_prefix}.{name}" for name in model.base_model.state_dict()}
    assert set(info["missing_keys"]) == set(model.state_dict()) - of_base
    assert_close(loaded.base_model.state_dict(), model.base_model.state_dict())


@over_every_model(*WITH_A_BASE)
def test_weights_of_another_shape_are_new_where_that_is_asked_for(
    make_example: Callable[[], Example], tmp_path: Path
) -> None:
    model, inputs = make_example()
    model.save_pretrained(tmp_path)
    sizes = {"vocab_size": model.config.vocab_size + 2} if model.can_generate() else {"num_labels": 42}
    with pytest.raises(RuntimeError, match="size mismatch|ignore_mismatched_sizes"):
        type(model).from_pretrained(tmp_path, **sizes)
    sizes["ignore_mismatched_sizes"] = True
    loaded, info = type(model).from_pretrained(tmp_path, **sizes, output_loading_info=True)
    new = {name for name, *_ in info["mismatched_keys"]}
    for name, tensor in loaded.state_dict().items():
        assert tensor.isfinite().all() and (name in new or torch.equal(tensor, model.state_dict()[name])), name
    assert outputs_of(loaded, inputs)[0].shape[-1] == (sizes.get("vocab_size") or 42)


def test_an_ensemble_has_the_vocabulary_of_its_members(tmp_path: Path) -> None:
    model, _ = MODELS["ensemble"]()
    model.save_pretrained(tmp_path)
    for name in ("vocab_size", "source_vocab_size"):
        with pytest.raises(ValueError, match=f"`{name}` of an ensemble is its members', 13, got 15"):
            type(model).from_pretrained(tmp_path, **{name: 15})
        with pytest.raises(ValueError, match=f"`{name}` of an ensemble is its members', 13, got 15"):
            type(model.config)(members=model.config.members, **{name: 15})


@over_every_model()
def test_either_name_of_the_precision(make_example: Callable[[], Example], tmp_path: Path) -> None:
    model, _ = make_example()
    model.save_pretrained(tmp_path)
    for asked, expected in (("float16", torch.float16), (torch.bfloat16, torch.bfloat16), ("auto", torch.float32)):
        loaded, other = (type(model).from_pretrained(tmp_path, **{name: asked}) for name in ("dtype", "torch_dtype"))
        assert loaded.dtype == expected
        assert_close(loaded.state_dict(), other.state_dict())
    with torch.device("meta"), pytest.raises(RuntimeError, match="meta device context manager"):
        type(model).from_pretrained(tmp_path)


@over_every_model()
def test_special_tokens_may_be_left_to_the_defaults(make_example: Callable[[], Example]) -> None:
    model, inputs = make_example()
    left_out = ("pad_token_id", "bos_token_id", "eos_token_id", "tie_word_embeddings")
    settings = {name: value for name, value in model.config.to_diff_dict().items() if name not in left_out}
    outputs_of(type(model)(type(model.config)(**settings)).eval(), inputs)


# What it says of itself


@over_every_model()
def test_its_class_says_what_it_is(make_example: Callable[[], Example]) -> None:
    model, _ = make_example()
    assert type(model).main_input_name == list(inspect.signature(type(model).forward).parameters)[1]
    assert (GenerationMixin in type(model).__bases__) == model.can_generate()


@over_every_model(*WITH_A_BASE)
def test_another_table_takes_the_place_of_the_old(make_example: Callable[[], Example]) -> None:
    model, _ = make_example()
    assert isinstance(model.get_input_embeddings(), nn.Embedding)
    new = nn.Embedding(10, 10)
    model.set_input_embeddings(new)
    assert model.get_input_embeddings() is new
    assert isinstance(model.get_output_embeddings(), nn.Linear if model.can_generate() else type(None))


@over_every_model()
def test_parts_have_the_configurations_that_the_model_names(make_example: Callable[[], Example]) -> None:
    model, inputs = make_example()
    expected = outputs_of(model, inputs)
    parts = [getattr(model.config, name) for name in model.config.sub_configs]
    backbones = [part.backbone for part in model.modules() if isinstance(part, ImageEncoder) and part.backbone]
    assert all(any(backbone.config is part for part in parts) for backbone in backbones)
    # And with them what is asked of attention, now or later.
    takes = [backbone for backbone in backbones if backbone._supports_sdpa]
    for wanted in ("eager", "sdpa") if takes else ("eager",):
        model.set_attn_implementation(wanted)
        assert all(backbone.config._attn_implementation == wanted for backbone in backbones)
        assert_close(outputs_of(model, inputs), expected)
    with pytest.raises(ValueError, match="foo"):
        model.set_attn_implementation("foo")
    settings = {name: value for name, value in model.config.to_diff_dict().items() if not name.startswith("_")}
    config = type(model.config)(**settings, attn_implementation="eager")
    subs = [each for each in (getattr(config, name) for name in config.sub_configs) if each is not None]
    assert {each._attn_implementation for each in (config, *subs)} == {"eager"}


# What it computes


@over_every_model()
@torch.no_grad()
def test_outputs_of_a_row_are_those_of_the_row_alone(make_example: Callable[[], Example]) -> None:
    model, inputs = make_example()
    given = forward_inputs(model, inputs)
    together = model(**given, **ALL)
    for item in range(ITEMS):
        alone = model(**{name: value[item : item + 1] for name, value in given.items()}, **ALL)
        assert list(alone) == list(together)
        for name in alone:
            for found, of_all in zip(leaves(alone[name]), leaves(together[name]), strict=True):
                assert_close(found, of_all[item : item + 1], rtol=1e-4, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


@over_every_model()
@pytest.mark.parametrize("training", [False, True])
@torch.no_grad()
def test_a_tuple_holds_what_the_output_holds(make_example: Callable[[], Example], training: bool) -> None:
    model, inputs = make_example()
    without_dropout(model).train(training)
    for given in (forward_inputs(model, inputs), labelled(model, inputs)):
        for asked in ({}, {"output_attentions": True}, {"output_hidden_states": True}, ALL):
            state = copy.deepcopy(model.state_dict())  # batch norms count
            named = model(**given, **asked)
            model.load_state_dict(state)
            plain = model(**given, **asked, return_dict=False)
            assert isinstance(plain, tuple) and len(plain) == len(named.to_tuple())
            assert_close(leaves(plain), leaves(named.to_tuple()))


@over_every_model()
@torch.no_grad()
def test_the_configuration_asks_as_an_argument_does(make_example: Callable[[], Example]) -> None:
    model, inputs = make_example()
    given = forward_inputs(model, inputs)
    expected = model(**given, **ALL)
    nothing = model(**given)
    model.config.output_attentions = model.config.output_hidden_states = True
    config = copy.deepcopy(model.config)
    made = type(model)(config).eval()
    made.load_state_dict(model.state_dict())
    for each in (model, made):
        found = each(**given)
        assert list(found) == list(expected)
        assert_close(leaves(found.to_tuple()), leaves(expected.to_tuple()), rtol=1e-4, atol=1e-4)
        assert list(each(**given, **dict.fromkeys(ALL, False))) == list(nothing)


@over_every_model()
def test_all_that_is_trained_has_a_gradient(make_example: Callable[[], Example]) -> None:
    model, inputs = make_example()
    model.train()(**labelled(model, inputs)).loss.backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name


@over_every_model()
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
def test_recomputation_reaches_the_words_of_a_frozen_model(make_example: Callable[[], Example]) -> None:
    """As adapters ask for it: all weights frozen, and the embeddings made to need gradients."""
    model, inputs = make_example()
    given = labelled(model.train().requires_grad_(False), inputs)
    model.enable_input_require_grads()
    assert model(**given).loss.requires_grad
    model.disable_input_require_grads()
    assert not model(**given).loss.requires_grad and not model.is_gradient_checkpointing
    model.enable_input_require_grads()
    model.gradient_checkpointing_enable()
    assert model(**given).loss.requires_grad and model.is_gradient_checkpointing
    model.gradient_checkpointing_disable()
    assert not model.is_gradient_checkpointing


# What it generates


@over_every_model(*WITH_GENERATE)
@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("strategy", STRATEGIES)
@torch.no_grad()
def test_all_that_generation_returns(make_example: Callable[[], Example], strategy: str, use_cache: bool) -> None:
    model, inputs = make_example()
    asked, has_encoder = STRATEGIES[strategy], model.config.is_encoder_decoder
    returned, beams = asked.get("num_return_sequences", 1), asked.get("num_beams", 1)
    rows, read = ITEMS * (beams if beams > 1 else returned), 1 if has_encoder else inputs["input_ids"].shape[1]
    everything = {"return_dict_in_generate": True, "output_scores": True, "output_logits": True, **ALL}
    outputs = unending(model).generate(**inputs, **asked, **everything, max_new_tokens=3, use_cache=use_cache)
    kind = f"Generate{'Beam' if beams > 1 else ''}{'EncoderDecoder' if has_encoder else 'DecoderOnly'}Output"
    assert type(outputs) is getattr(generation, kind)
    assert outputs.sequences.shape == (ITEMS * returned, read + 3)
    assert [each.shape for each in (*outputs.scores, *outputs.logits)] == [(rows, model.config.vocab_size)] * 6
    lengths = [read, 1, 1] if use_cache else [read, read + 1, read + 2]
    states, maps = (
        (outputs.decoder_hidden_states, outputs.cross_attentions)
        if has_encoder
        else (outputs.hidden_states, outputs.attentions)
    )
    for of_steps in (states, maps):
        for length, of_layers in zip(lengths, of_steps, strict=True):
            assert all(each.shape[0] == rows and each.shape[each.ndim - 2] == length for each in of_layers)
    assert (outputs.past_key_values is None) != use_cache
    if use_cache:
        assert outputs.past_key_values.get_seq_length() == read + 2
    if has_encoder:
        assert all(each.shape[0] == ITEMS for each in outputs.encoder_hidden_states)


@over_every_model(*WITH_GENERATE)
@torch.no_grad()
def test_ways_to_the_same_words(make_example: Callable[[], Example]) -> None:
    model, inputs = make_example()
    # What Trainer hands along, and what assistants ask for.
    for more in ({"labels": make_tokens(ITEMS, 4)}, {"logits_to_keep": 0}):
        for strategy in ({}, {"num_beams": 2}):
            expected = model.generate(**inputs, **strategy, max_new_tokens=5)
            assert torch.equal(model.generate(**inputs, **strategy, **more, max_new_tokens=5), expected)
    one = {name: value[:1] for name, value in inputs.items()}
    expected = model.generate(**one, max_new_tokens=6)
    ways = [{"prompt_lookup_num_tokens": 2}]
    if "assisted" in strategies.STRATEGIES:
        ways += [{"assistant_model": model}, {"assistant_model": copy.deepcopy(model)}]
    for way in ways:
        found = model.generate(**one, **way, max_new_tokens=6)
        assert torch.equal(found[:, : expected.shape[1]], expected), way
    unending(model)
    through = model.generate(**inputs, max_new_tokens=5)
    first = model.generate(**inputs, max_new_tokens=3, return_dict_in_generate=True)
    name = "decoder_input_ids" if model.config.is_encoder_decoder else "input_ids"
    onward = {**inputs, name: first.sequences, "past_key_values": first.past_key_values}
    assert torch.equal(model.generate(**onward, max_new_tokens=2), through)


@over_every_model("seq2seq", "recurrent_lm", "ensemble")
@torch.no_grad()
def test_generation_from_embeddings(make_example: Callable[[], Example]) -> None:
    model, inputs = make_example()
    tokens = inputs.pop("input_ids")
    words = model.get_input_embeddings()(tokens)
    prompt = 0 if model.config.is_encoder_decoder else tokens.shape[1]
    asked = {"max_new_tokens": 5, "return_dict_in_generate": True, "output_scores": True}
    for strategy in ({}, {"num_beams": 2}):
        expected = model.generate(tokens, **inputs, **asked, **strategy)
        found = model.generate(inputs_embeds=words, **inputs, **asked, **strategy)
        assert torch.equal(found.sequences, expected.sequences[:, prompt:])
        other = model.generate(inputs_embeds=torch.rand_like(words), **inputs, **asked, **strategy)
        assert not torch.allclose(other.scores[0], expected.scores[0])
