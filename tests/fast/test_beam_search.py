"""Beam search that leaves out what has ended, held against transformers' own."""

import contextlib
import copy

import pytest
import torch
from common.factories import END, PAD, generation_inputs, over_models
from transformers import StoppingCriteriaList
from transformers.generation.stopping_criteria import MaxLengthCriteria

from hf_attention import fast
from hf_attention.fast import beam_search


ITEMS = 6
SETTINGS = [
    {},
    {"num_beams": 5, "num_return_sequences": 4},
    {"early_stopping": True},
    {"early_stopping": "never", "length_penalty": 0.7},
    {"length_penalty": 0.0},
    {"length_penalty": -1.0},
    {"length_penalty": 2.0, "num_return_sequences": 2},
    {"eos_token_id": [END, 5]},
    {"eos_token_id": None},
    {"no_repeat_ngram_size": 2, "min_new_tokens": 3},
    {"repetition_penalty": 1.3, "forced_eos_token_id": END},
    {"num_beams": 2, "max_new_tokens": 1},
]


def both(model, inputs: dict, tokens=None, mask=None, **settings) -> tuple[torch.Tensor, torch.Tensor]:
    settings = {"num_beams": 3, "max_new_tokens": 12, **settings}
    given = generation_inputs(model, inputs, tokens, mask)
    quick = model.generate(**given, **settings)
    with fast.disable():
        return quick, model.generate(**given, **settings)


@over_models
@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: "-".join(map(str, settings)) or "default")
def test_the_sequences_are_those_of_transformers(factory, settings):
    model, inputs = factory.to_double(factory.make_model(), factory.make_inputs(ITEMS))
    quick, plain = both(model, inputs, **settings)
    assert torch.equal(quick, plain)


@over_models
@pytest.mark.parametrize("rnn_type", ["lstm", "gru"])
def test_in_float32_too(factory, rnn_type):
    model, inputs = factory.make_model(rnn_type=rnn_type), factory.make_inputs(ITEMS)
    quick, plain = both(model, inputs, num_beams=4)
    assert torch.equal(quick, plain)


@over_models
@pytest.mark.parametrize("num_bytes", [0, 4 * 4 * 50])
def test_in_pieces_of_any_size(factory, num_bytes, monkeypatch):
    """Each of one item, or of some of them, with what looks at the tokens before."""
    monkeypatch.setattr(beam_search, "PIECE_BYTES", num_bytes)
    model, inputs = factory.to_double(factory.make_model(), factory.make_inputs(ITEMS))
    quick, plain = both(model, inputs, num_beams=4, repetition_penalty=1.3, no_repeat_ngram_size=2)
    assert torch.equal(quick, plain)


@over_models
def test_what_has_ended_is_not_computed(factory, monkeypatch):
    """Each step has the beams of the items that still can improve, and in the end fewer than at first."""
    model, inputs = factory.make_model(), factory.make_inputs(ITEMS)
    rows, decoder = [], model.model.decoder
    forward = decoder.forward

    def counting(*args, **kwargs):
        outputs = forward(*args, **kwargs)
        rows.append(len(outputs.last_hidden_state))
        return outputs

    monkeypatch.setattr(decoder, "forward", counting)
    both(model, inputs)
    steps = len(rows) // 2
    quick, plain = rows[:steps], rows[steps:]
    assert len(rows) % 2 == 0 and len(set(plain)) == 1  # transformers takes as many steps, each of all rows
    assert quick == sorted(quick, reverse=True)
    assert quick[0] == plain[0] == 3 * ITEMS and quick[-1] < plain[-1]


class OfOneRow(MaxLengthCriteria):
    """Might look at which row it is given."""


@over_models
@pytest.mark.parametrize(
    "wish",
    [
        {"do_sample": True},
        {"return_dict_in_generate": True},
        {"use_cache": False},
        {"stopping_criteria": StoppingCriteriaList([OfOneRow(9)])},
        {"prefix_allowed_tokens_fn": lambda batch, ids: [END]},
    ],
    ids=lambda wish: next(iter(wish)),
)
def test_other_wishes_are_left_to_transformers(factory, wish, monkeypatch):
    model, inputs = factory.make_model(), factory.make_inputs(2)
    given = generation_inputs(model, inputs, None, None)
    taken, at_start = [], beam_search._Beams.at_start
    monkeypatch.setattr(beam_search._Beams, "at_start", lambda *args: taken.append(args) or at_start(*args))
    model.generate(**given, num_beams=2, max_new_tokens=3)
    assert len(taken) == 1
    model.generate(**given, num_beams=2, max_new_tokens=3, **wish)
    assert len(taken) == 1


@over_models
@pytest.mark.parametrize("wish", [{}, {"repetition_penalty": 1.3}], ids=lambda wish: next(iter(wish), "default"))
def test_prompts_of_several_lengths(factory, wish):
    """Of which the mask is handed on with the rows that are left, and is counted by what looks at the prompt."""
    model, inputs = factory.to_double(factory.make_model(), factory.make_inputs(ITEMS))
    tokens = torch.randint(END + 1, 7, (ITEMS, 3), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(tokens)
    mask[::2, 0] = 0
    quick, plain = both(model, inputs, tokens.masked_fill(mask == 0, PAD), mask, max_new_tokens=9, **wish)
    assert torch.equal(quick, plain)


@over_models
def test_goes_on_from_a_cache_and_the_last_token_alone(factory):
    """How many tokens there were before is told by the cache and the mask, and not by the ids."""
    model, inputs = factory.to_double(factory.make_model(), factory.make_inputs(ITEMS))
    first = model.generate(
        **generation_inputs(model, inputs), max_new_tokens=4, eos_token_id=None, return_dict_in_generate=True
    )
    prefix = "decoder_" * factory.has_encoder
    given = {f"{prefix}attention_mask": torch.ones_like(first.sequences)}
    sequences = []
    for way in (contextlib.nullcontext, fast.disable):
        cache = copy.deepcopy(first.past_key_values)
        cache.batch_repeat_interleave(3)
        given |= {**inputs, f"{prefix}input_ids": first.sequences[:, -1:], "past_key_values": cache}
        with way():
            sequences.append(model.generate(**given, num_beams=3, max_new_tokens=9))
    assert torch.equal(*sequences)


@over_models
def test_a_cache_that_is_handed_in_has_all_rows_afterwards(factory):
    model, inputs = factory.to_double(factory.make_model(), factory.make_inputs(ITEMS))
    given = generation_inputs(model, inputs, None, None)
    states = []
    for way in (contextlib.nullcontext, fast.disable):
        cache = model.make_cache()
        with way():
            model.generate(**given, num_beams=3, max_new_tokens=12, past_key_values=cache)
        states.append([layer.state for layer in cache.layers])
    assert states[0][0].hidden[0].shape[0] == 3 * ITEMS
    torch.testing.assert_close(*states)
