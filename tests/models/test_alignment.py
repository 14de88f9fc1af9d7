import pytest
import torch
from common.factories import END, memory_mask, over_configurations, over_models, take
from common.strategies import NEW_TOKENS, ONE_SEQUENCE, STRATEGIES, generate, make_prefix, teacher_forced
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.testing import assert_close
from transformers import GPT2Config, GPT2LMHeadModel

from hf_attention import attention_maps
from hf_attention.models.alignment import merge_words


def check_maps(factory, model, inputs, outputs, prefix=None) -> None:
    maps = attention_maps(outputs)
    _, expected, real = teacher_forced(model, inputs, outputs.sequences, prefix)
    assert maps.shape == expected.shape
    assert_close(maps, expected * real.unsqueeze(-1), rtol=0, atol=1e-5)
    assert_close(maps.sum(-1), real.float(), rtol=0, atol=1e-5)
    if factory.has_encoder:
        mask = memory_mask(model, inputs)
        masked = (mask == 0).repeat_interleave(maps.shape[0] // mask.shape[0], 0)
        assert (maps.transpose(1, 2)[masked] == 0).all()


@over_configurations
@pytest.mark.parametrize("with_prefix", [False, True], ids=["", "prefix"])
def test_maps_equal_a_teacher_forced_pass(factory, settings, with_prefix):
    if settings["attention_type"] is None:
        pytest.skip("there are no maps without attention")
    model, inputs = factory.make_model(**settings), factory.make_inputs(3)
    for strategy in STRATEGIES:
        items = take(inputs, 1) if strategy in ONE_SEQUENCE else inputs
        prefix = make_prefix(items[factory.content].shape[0]) if with_prefix else None
        outputs = generate(factory, model, items, strategy, **(prefix or {}))
        try:
            check_maps(factory, model, items, outputs, prefix)
        except AssertionError as error:
            raise AssertionError(f"{strategy}: {error}") from error


@over_models
@pytest.mark.parametrize("strategy", ["greedy", "sample several", "beam", "beam several"])
def test_maps_where_nothing_ends_a_text(factory, strategy):
    model, inputs = factory.make_model(eos_token_id=None), factory.make_inputs(3)
    assert model.config.eos_token_id is None
    outputs = generate(factory, model, inputs, strategy, max_new_tokens=5)
    assert outputs.generated_mask.shape[1] == 5 and outputs.generated_mask.all()
    rows = attention_maps(outputs).sum(-1)
    torch.testing.assert_close(rows, torch.ones_like(rows))


@over_models
@pytest.mark.parametrize("strategy", ["greedy", "sample several", "beam", "beam several"])
def test_maps_where_the_padding_token_is_the_end(factory, strategy):
    model, inputs = factory.make_model(), factory.make_inputs(4)
    outputs = generate(factory, model, inputs, strategy, pad_token_id=END, max_new_tokens=12)
    ends = (outputs.sequences == END).sum(1)
    assert ends.max() > 1, "no sequence ends before another"
    check_maps(factory, model, inputs, outputs)


@over_models
@pytest.mark.parametrize("strategy", ["greedy", "beam several"])
def test_which_tokens_were_generated(factory, strategy):
    model, inputs = factory.make_model(), factory.make_inputs(4)
    outputs = generate(factory, model, inputs, strategy, max_new_tokens=12)
    _, _, real = teacher_forced(model, inputs, outputs.sequences)
    assert len(real.sum(1).unique()) > 1, "all sequences end at the same step"
    assert outputs.generated_mask.equal(real)


@over_models
def test_maps_of_a_continued_generation(factory):
    model, inputs = factory.make_model(), factory.make_inputs(2)
    first = generate(factory, model, inputs, "greedy", max_new_tokens=3, min_new_tokens=3)
    second = generate(
        factory,
        model,
        inputs,
        "greedy",
        decoder_input_ids=first.sequences,
        past_key_values=first.past_key_values,
        min_new_tokens=4,
        max_new_tokens=4,
    )
    prefix = {"decoder_input_ids": first.sequences, "decoder_attention_mask": torch.ones_like(first.sequences)}
    check_maps(factory, model, inputs, second, prefix)


@over_models
def test_outputs_without_weights_are_refused(factory):
    model, inputs = factory.make_model(), factory.make_inputs(2)
    for outputs in (
        generate(factory, model, inputs, "greedy", output_attentions=False),
        model.generate(**inputs, max_new_tokens=NEW_TOKENS),
    ):
        with pytest.raises(ValueError, match="output_attentions=True"):
            attention_maps(outputs)


@over_models
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_model_without_attention_has_no_maps(factory, strategy):
    model, inputs = factory.make_model(attention_type=None), factory.make_inputs(1)
    outputs = generate(factory, model, inputs, strategy)
    with pytest.raises(ValueError, match="attention_type=None"):
        attention_maps(outputs)


@pytest.mark.parametrize(
    ("tokens", "words", "groups"),
    [
        (["Two", "\u0120dogs", "\u0120pl", "ay", ".", "</s>"], ["Two", "dogs", "play.", "</s>"], [1, 1, 3, 1]),
        (["\u2581Zwei", "\u2581H", "unde", "</s>"], ["Zwei", "Hunde", "</s>"], [1, 2, 1]),
        (["<s>", "\u2581", "1", "992", "</s>", "<pad>"], ["<s>", "1992", "</s>", "<pad>"], [1, 3, 1, 1]),
        (
            ["[CLS]", "un", "##think", "##able", "thing", "[SEP]"],
            ["[CLS]", "unthinkable", "thing", "[SEP]"],
            [1, 3, 1, 1],
        ),
        (["a", "red", "circle", "</s>"], ["a", "red", "circle", "</s>"], [1, 1, 1, 1]),
    ],
    ids=["byte-level", "metaspace", "metaspace alone", "wordpiece", "words"],
)
def test_sub_words_merge_into_words(tokens, words, groups):
    weights = torch.rand(len(tokens), len(tokens)).softmax(-1)
    merged_words, merged, merged_sources = merge_words(tokens, weights, tokens)
    assert merged_words == merged_sources == words
    starts = [sum(groups[:number]) for number in range(len(groups) + 1)]
    for row, (top, bottom) in enumerate(zip(starts[:-1], starts[1:], strict=True)):
        for column, (left, right) in enumerate(zip(starts[:-1], starts[1:], strict=True)):
            expected = sum(float(weights[r, left:right].sum()) for r in range(top, bottom)) / (bottom - top)
            assert float(merged[row, column]) == pytest.approx(expected, abs=1e-6)
    assert_close(merged.sum(-1), torch.ones(len(words)))


def test_bytes_become_letters():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    [(first, _), (second, _)] = tokenizer.pre_tokenizer.pre_tokenize_str("\uc548\ub155 \ud558\uc138\uc694")
    tokens = [first[:4], first[4:], second[:3], second[3:]]
    words, merged, none = merge_words(tokens, torch.eye(4))
    assert words == ["\uc548\ub155", "\ud558\uc138\uc694"] and none is None
    assert merged.tolist() == [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]  # regions stay as they are


def test_maps_of_another_shape_are_not_merged():
    with pytest.raises(ValueError, match=r"\(2, 3\), got \(3, 2\)"):
        merge_words(["a", "b"], torch.ones(3, 2), ["c", "d", "e"])


def test_self_attention_over_a_growing_text_is_refused():
    config = GPT2Config(vocab_size=9, n_positions=16, n_embd=4, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=2)
    model = GPT2LMHeadModel._from_config(config, attn_implementation="eager")
    outputs = model.generate(
        torch.tensor([[3, 4]]),
        min_new_tokens=3,
        max_new_tokens=3,
        pad_token_id=0,
        output_attentions=True,
        return_dict_in_generate=True,
    )
    with pytest.raises(ValueError, match="grows"):
        attention_maps(outputs)
