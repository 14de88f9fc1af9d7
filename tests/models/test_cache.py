import pytest
import torch
from common.factories import (
    FACTORIES,
    generation_inputs,
    make_tokens,
    over_configurations,
    over_encoder_decoders,
    over_models,
    prompt_length,
    read,
    repeat,
    take,
)
from torch.testing import assert_close

from hf_attention import RecurrentCache


CLOSE = {"rtol": 1e-5, "atol": 2e-6}


@torch.no_grad()
def step(model, inputs, cache, tokens) -> torch.Tensor:
    return read(model, inputs, tokens, past_key_values=cache).logits


@over_configurations
def test_cropped_tokens_have_never_been(factory, settings):
    model, inputs = factory.to_double(factory.make_model(**settings), factory.make_inputs(2))
    tokens, other = make_tokens(rows=2, length=7), make_tokens(rows=2, length=4)[:, 1:]
    for dropped in range(6):
        cache = model.make_cache()
        step(model, inputs, cache, tokens[:, :1])
        cache.activate_past_recording()
        step(model, inputs, cache, tokens[:, 1:6])
        cache.crop(-dropped)
        kept = 6 - dropped
        assert cache.get_seq_length() == prompt_length(model, inputs) + kept
        expected = step(model, inputs, None, torch.cat([tokens[:, :kept], other], 1))[:, kept:]
        assert_close(step(model, inputs, cache, other), expected, **CLOSE)


@over_models
def test_all_tokens_can_be_taken_back(factory):
    model, inputs = factory.make_model(), factory.make_inputs(2)
    tokens, cache = make_tokens(rows=2, length=4), model.make_cache()
    cache.activate_past_recording()
    expected = step(model, inputs, cache, tokens)
    cache.crop(-4 - prompt_length(model, inputs))
    assert cache.get_seq_length() == 0
    assert_close(step(model, inputs, cache, tokens), expected, **CLOSE)


@over_models
def test_tokens_that_were_not_recorded_cannot_be_taken_back(factory):
    model, inputs = factory.make_model(), factory.make_inputs(2)
    tokens, cache = make_tokens(rows=2, length=4), model.make_cache()
    step(model, inputs, cache, tokens)
    assert not cache.is_croppable
    with pytest.raises(RuntimeError, match="activate_past_recording"):
        cache.crop(-1)
    cache.activate_past_recording()
    assert cache.is_croppable
    step(model, inputs, cache, tokens[:, 1:])
    length = cache.get_seq_length()
    for too_many in (-4, length - 4):
        with pytest.raises(RuntimeError, match="Cannot take back 4 tokens"):
            cache.crop(too_many)


def test_tokens_to_keep_are_tokens_to_take_back():
    """transformers until 5.13 says how many tokens stay, later ones say how many go."""
    factory = FACTORIES[0]
    model, inputs, tokens = factory.make_model(), factory.make_inputs(2), make_tokens(rows=2, length=6)
    caches = model.make_cache(), model.make_cache()
    for cache, crop in zip(caches, (-2, 4), strict=True):
        cache.activate_past_recording()
        step(model, inputs, cache, tokens)
        cache.crop(crop)
        assert cache.get_seq_length() == 4
    assert_close(step(model, inputs, caches[0], tokens[:, :1]), step(model, inputs, caches[1], tokens[:, :1]))
    caches[0].crop(10)  # more than there are: nothing to take back
    assert caches[0].get_seq_length() == 5
    caches[0].layers[0].zero_keeps_none = True
    with pytest.raises(RuntimeError, match="Cannot take back 5 tokens"):
        caches[0].crop(0)


@over_configurations
@pytest.mark.parametrize("recorded", [False, True], ids=["", "recorded"])
def test_rows_of_a_cache_move(factory, settings, recorded):
    model, inputs = factory.to_double(factory.make_model(**settings), factory.make_inputs(3))
    tokens = make_tokens(rows=3, length=5)

    def cached() -> RecurrentCache:
        cache = model.make_cache()
        if recorded:
            cache.activate_past_recording()
        step(model, inputs, cache, tokens[:, :4])
        if recorded:
            cache.crop(-1)
        return cache

    length = 3 if recorded else 4
    new = tokens[:, 4:]

    # A selection of rows takes its memories along.
    chosen, cache = [2, 0], cached()
    cache.batch_select_indices(torch.tensor(chosen))
    assert cache.layers[0].batch_size == 2
    expected = step(model, take(inputs, *chosen), None, torch.cat([tokens[chosen, :length], new[:2]], 1))
    assert_close(step(model, take(inputs, *chosen), cache, new[:2]), expected[:, -1:], **CLOSE)

    # So do repeated rows.
    cache = cached()
    cache.batch_repeat_interleave(2)
    six = make_tokens(rows=6, length=2)[:, 1:]
    expected = step(model, repeat(inputs, 2), None, torch.cat([tokens[:, :length].repeat_interleave(2, 0), six], 1))
    assert_close(step(model, repeat(inputs, 2), cache, six), expected[:, -1:], **CLOSE)

    # Of rows that share a memory, any may be chosen, by number or by a mask.
    for chosen in (torch.tensor([4, 5, 0, 1]), torch.tensor([5, 1, 2, -2]), torch.tensor([3]), six[:, 0] == six[0, 0]):
        cache = cached()
        cache.batch_repeat_interleave(2)
        cache.batch_select_indices(chosen)
        of_items = torch.arange(3).repeat_interleave(2)[chosen]
        new_tokens = six[: len(of_items)]
        expected = step(
            model, take(inputs, *of_items.tolist()), None, torch.cat([tokens[of_items, :length], new_tokens], 1)
        )
        found = step(model, take(inputs, *of_items.tolist()), cache, new_tokens)
        assert_close(found, expected[:, -1:], **CLOSE)

    # Beams of one item change places, and their memory is the same.
    shared, cache = take(inputs, 1), model.make_cache()
    step(model, shared, cache, tokens[:, :4])
    order = torch.tensor([1, 1, 0])
    cache.reorder_cache(order)
    expected = step(model, shared, None, torch.cat([tokens[order, :4], new], 1))
    assert_close(step(model, shared, cache, new), expected[:, -1:], **CLOSE)


@over_encoder_decoders
@pytest.mark.parametrize("chosen", [[5, 3, 4], [0, 4], [1, 1, 5], [2, 0, 1, 5, 5, 4]])
def test_rows_that_share_a_memory_are_chosen(factory, chosen):
    """Those of an item that stay together go on sharing it; others get one each."""
    model, inputs = factory.to_double(factory.make_model(), factory.make_inputs(2))
    tokens, cache = make_tokens(rows=6, length=5), model.make_cache()
    step(model, inputs, cache, tokens[:, :4])
    cache.batch_select_indices(torch.tensor(chosen))
    items, new = [row // 3 for row in chosen], tokens[chosen, 4:]
    expected = step(model, take(inputs, *items), None, torch.cat([tokens[chosen, :4], new], 1))[:, -1:]
    assert_close(step(model, take(inputs, *items), cache, new), expected, **CLOSE)
    are_together = all(len(set(items[start : start + 3])) == 1 for start in range(0, len(items), 3))
    share = are_together and len(chosen) % 3 == 0
    for of_member in getattr(cache, "members", [cache]):  # an ensemble has a cache a member
        assert len(of_member.memory.keys) == (len(chosen) // 3 if share else len(chosen))


@over_models
@pytest.mark.parametrize("rows", [1, 3, 6])
def test_a_cache_of_other_rows_is_named(factory, rows):
    model, inputs = factory.make_model(), factory.make_inputs(rows)
    cache = model.make_cache()
    step(model, factory.make_inputs(2), cache, make_tokens(rows=2, length=2))
    with pytest.raises(ValueError, match=f"2 sequences, and the tokens are of {rows}.*batch_repeat_interleave"):
        step(model, inputs, cache, make_tokens(rows=rows, length=1))


@over_models
def test_beams_go_on_from_a_repeated_cache(factory):
    model, inputs = factory.to_double(factory.make_model(), factory.make_inputs(2))
    tokens, cache = make_tokens(rows=2, length=4), model.make_cache()
    given = generation_inputs(model, inputs, tokens)
    settings = {"num_beams": 3, "max_new_tokens": 6}
    expected = model.generate(**given, **settings)
    step(model, inputs, cache, tokens[:, :3])
    cache.batch_repeat_interleave(3)
    assert torch.equal(model.generate(**given, past_key_values=cache, **settings), expected)


@over_models
def test_a_reset_cache_is_new(factory):
    model, inputs = factory.make_model(), factory.make_inputs(2)
    tokens, cache = make_tokens(rows=2, length=3), model.make_cache()
    expected = step(model, inputs, cache, tokens)
    cache.reset()
    assert cache.get_seq_length() == 0
    assert all(layer.state is None for layer in cache.layers)
    other = factory.make_inputs(3)
    step(model, other, cache, make_tokens(rows=3, length=2))
    cache.reset()
    assert_close(step(model, inputs, cache, tokens), expected)


@over_models
def test_the_state_does_not_grow(factory):
    model, inputs = factory.make_model(coverage=True), factory.make_inputs(2)
    cache = model.make_cache()
    sizes = []
    for token in make_tokens(rows=2, length=5).split(1, 1):
        step(model, inputs, cache, token)
        held = []
        for layer in cache.layers:
            layer.state.map(lambda tensor, held=held: held.append(tensor.numel()))
        sizes.append(sum(held))
    assert len(set(sizes)) == 1
    assert all(len(layer.past_states) == 1 for layer in cache.layers)
