import itertools

import pytest
import torch
from common.factories import (
    END,
    PAD,
    START,
    UNKNOWN,
    VOCABULARY,
    generation_inputs,
    make_tokens,
    over_configurations,
    over_encoder_decoders,
    over_models,
    prompt_length,
    set_bias,
    take,
    to_dtype,
)
from common.strategies import (
    NEW_TOKENS,
    ONE_SEQUENCE,
    STRATEGIES,
    generate,
    log_probabilities,
    make_prefix,
    teacher_forced,
)
from common.versions import INSTALLED
from packaging.version import Version
from torch.testing import assert_close
from transformers import DynamicCache, GenerationConfig, StoppingCriteria
from transformers.generation.streamers import BaseStreamer

from hf_attention import attention_maps


CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def allowed(logits: torch.Tensor) -> torch.Tensor:
    """Logits without the tokens that are never generated."""
    logits = logits.clone()
    logits[..., [PAD, UNKNOWN]] = -torch.inf
    return logits


@over_configurations
@pytest.mark.parametrize("with_prefix", [False, True], ids=["", "prefix"])
def test_scores_equal_a_teacher_forced_pass(factory, settings, with_prefix):
    model, inputs = factory.make_model(**settings), factory.make_inputs(3)
    for strategy in STRATEGIES:
        items = take(inputs, 1) if strategy in ONE_SEQUENCE else inputs
        prefix = make_prefix(items[factory.content].shape[0]) if with_prefix else None
        outputs = generate(factory, model, items, strategy, **(prefix or {}))
        logits, _, real = teacher_forced(model, items, outputs.sequences, prefix)
        beams = "beam" in strategy
        # Beam search adds up the model's own log-probabilities; the others choose among the tokens that are allowed.
        expected = log_probabilities(logits if beams else allowed(logits), outputs.sequences).masked_fill(~real, 0)
        if beams:
            scores = model.compute_transition_scores(outputs.sequences, outputs.scores, outputs.beam_indices)
            length_penalty = STRATEGIES[strategy].get("length_penalty", 1.0)
            assert_close(outputs.sequences_scores, expected.sum(1) / real.sum(1) ** length_penalty, **CLOSE)
        else:
            scores = model.compute_transition_scores(outputs.sequences, outputs.scores, normalize_logits=True)
        assert_close(scores.masked_fill(~real, 0), expected, **CLOSE, msg=lambda m, s=strategy: f"{s}: {m}")
        if strategy in ("greedy", *ONE_SEQUENCE):
            choice = allowed(logits).argmax(-1)
            tokens = outputs.sequences[:, -choice.shape[1] :]
            assert choice[real].equal(tokens[real]), strategy


@over_configurations
def test_a_batch_equals_single_runs(factory, settings):
    model, inputs = factory.make_model(**settings), factory.make_inputs(4)
    for strategy in ("greedy", "beam", "beam several"):
        outputs = generate(factory, model, inputs, strategy)
        for item in range(4):
            alone = generate(factory, model, take(inputs, item), strategy)
            several = alone.sequences.shape[0]
            together = outputs.sequences[item * several : (item + 1) * several]
            length = alone.sequences.shape[1]
            assert together[:, :length].equal(alone.sequences), strategy
            assert torch.isin(together[:, length:], torch.tensor([PAD, END])).all(), strategy


@over_configurations
def test_uncached_equals_cached(factory, settings):
    model, inputs = factory.make_model(**settings), factory.make_inputs(3)
    for strategy in ("greedy", "beam several"):
        for prefix in ({}, make_prefix(3)):
            cached = generate(factory, model, inputs, strategy, **prefix)
            uncached = generate(factory, model, inputs, strategy, use_cache=False, **prefix)
            assert cached.sequences.equal(uncached.sequences)
            assert type(cached.past_key_values) is type(model.make_cache())
            assert uncached.past_key_values is None


@over_configurations
def test_assisted_decoding_equals_greedy(factory, settings):
    model, inputs = factory.make_model(**settings), factory.make_inputs(1)
    for prefix in ({}, make_prefix(1)):
        expected = generate(factory, model, inputs, "greedy", **prefix).sequences
        for strategy in ONE_SEQUENCE:
            # Without attention weights the first step takes candidates, too.
            outputs = generate(factory, model, inputs, strategy, output_attentions=False, **prefix)
            sequences = outputs.sequences
            if strategy == "prompt lookup" and INSTALLED < Version("5.15"):
                # There T5 and GPT-2 go on past the greatest length, too.
                assert sequences.shape[1] <= expected.shape[1] + 1
                sequences = sequences[:, : expected.shape[1]]
            assert sequences.equal(expected), strategy


@over_configurations
@pytest.mark.parametrize("masked", [False, True], ids=["", "masked"])
def test_going_on_from_a_returned_cache_equals_going_through(factory, settings, masked):
    model, inputs = factory.make_model(**settings), factory.make_inputs(2)
    prefix = make_prefix(2) if masked else {}
    through = generate(factory, model, inputs, "greedy", min_new_tokens=8, max_new_tokens=8, **prefix)
    first = generate(factory, model, inputs, "greedy", min_new_tokens=3, max_new_tokens=3, **prefix)
    if masked:
        new = torch.ones(2, 3, dtype=torch.long)
        prefix = {"decoder_attention_mask": torch.cat([prefix["decoder_attention_mask"], new], 1)}
    second = generate(
        factory,
        model,
        inputs,
        "greedy",
        **{**prefix, "decoder_input_ids": first.sequences},
        past_key_values=first.past_key_values,
        min_new_tokens=5,
        max_new_tokens=5,
    )
    assert second.sequences.equal(through.sequences)
    for one, other in zip(second.scores[1:], through.scores[4:], strict=True):
        assert_close(one, other, **CLOSE)


@over_configurations
@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
def test_beam_search_equals_exhaustive_search(factory, settings, length_penalty):
    """All sequences of up to three tokens are scored in a teacher-forced pass; the beam is wide enough to be exact."""
    vocabulary, longest, returned = 7, 3, 10
    model, inputs = factory.make_model(vocab_size=vocabulary, **settings), factory.make_inputs(2)
    words = [token for token in range(vocabulary) if token not in (PAD, UNKNOWN, END)]
    sentences = [
        (*head, *tail)
        for length in range(longest + 1)
        for head in itertools.product(words, repeat=length)
        for tail in ([()] if length == longest else [(END,)])
    ]
    tokens = torch.full((len(sentences), 1 + longest), PAD)
    for row, sentence in enumerate(sentences):
        tokens[row, : 1 + len(sentence)] = torch.tensor([START, *sentence])
    outputs = generate(
        factory,
        model,
        inputs,
        "greedy",
        num_beams=60,
        num_return_sequences=returned,
        max_new_tokens=longest,
        length_penalty=length_penalty,
        early_stopping="never",
    )
    for item in range(2):
        logits, _, real = teacher_forced(model, take(inputs, item), tokens)
        scores = (log_probabilities(logits, tokens) * real).sum(1) / real.sum(1) ** length_penalty
        best, order = scores.topk(returned)
        rows = slice(item * returned, (item + 1) * returned)
        assert_close(outputs.sequences_scores[rows], best, **CLOSE)
        for found, row in zip(outputs.sequences[rows].tolist(), order.tolist(), strict=True):
            assert tuple(found[1 : 1 + len(sentences[row])]) == sentences[row]


@over_models
def test_more_beams_than_tokens(factory):
    """A beam wider than the vocabulary fills up after the first step; the best sequence is what it would be."""
    model, inputs = factory.make_model(), factory.make_inputs(2)
    wide = generate(factory, model, inputs, "greedy", num_beams=4 * VOCABULARY, num_return_sequences=2)
    assert wide.sequences.shape[0] == 4
    assert not torch.isin(wide.sequences, torch.tensor([UNKNOWN])).any()
    logits, _, real = teacher_forced(model, inputs, wide.sequences)
    expected = (log_probabilities(logits, wide.sequences) * real).sum(1) / real.sum(1)
    assert_close(wide.sequences_scores, expected, **CLOSE)
    narrow = generate(factory, model, inputs, "beam")
    assert (wide.sequences_scores[::2] >= narrow.sequences_scores - 1e-5).all()


@over_models
def test_no_beams_are_refused(factory):
    model, inputs = factory.make_model(), factory.make_inputs(1)
    with pytest.raises(ValueError, match="`num_beams` must be at least 1, got 0"):
        model.generate(**inputs, num_beams=0)


@over_models
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_padding_and_unknown_are_never_generated(factory, strategy):
    model = factory.make_model()
    set_bias(model, [PAD, UNKNOWN], 30.0)
    inputs = factory.make_inputs(1 if strategy in ONE_SEQUENCE else 3)
    for more in ({}, {"generation_config": GenerationConfig(max_new_tokens=NEW_TOKENS)}):
        sequences = generate(factory, model, inputs, strategy, **more).sequences
        ended_before = (sequences == END).cumsum(1) - (sequences == END).long() > 0
        assert not (torch.isin(sequences, torch.tensor([PAD, UNKNOWN])) & ~ended_before).any()


@over_models
@pytest.mark.parametrize("name", ["pad_token_id", "unk_token_id"])
def test_one_token_for_the_end_and_for_padding_or_unknown_words(factory, name):
    """As tokenizers have it that know but one special token: it ends a sentence none the less."""
    model = factory.make_model(**{name: END})
    set_bias(model, END, 30.0)
    inputs = factory.make_inputs(2)
    outputs = generate(factory, model, inputs, "greedy")
    assert len(outputs.scores) == 1 and (outputs.sequences[:, -1] == END).all()


@over_models
def test_sampling_follows_the_distribution(factory):
    model, inputs = factory.make_model(), factory.make_inputs(1)
    times = 4000
    outputs = generate(factory, model, inputs, "sample", max_new_tokens=1, num_return_sequences=times)
    logits, _, _ = teacher_forced(model, inputs, outputs.sequences[:1])
    expected = allowed(logits)[0, 0].softmax(-1)
    frequencies = outputs.sequences[:, 1].bincount(minlength=VOCABULARY) / times
    assert (frequencies - expected).abs().max() < 4 * (0.25 / times) ** 0.5


@over_encoder_decoders
@pytest.mark.parametrize("name", ["decoder_start_token_id", "bos_token_id"])
def test_training_and_generation_start_alike(factory, name):
    """What says otherwise for generation alone is refused in training."""
    model, inputs = factory.make_model(), factory.make_inputs(2)
    labels = make_tokens(2, 3)
    assert model.generate(**inputs)[:, 0].tolist() == [START] * 2
    assert model.prepare_decoder_input_ids_from_labels(labels)[:, 0].tolist() == [START] * 2
    setattr(model.generation_config, name, 5)
    assert model.generate(**inputs)[:, 0].tolist() == [5] * 2
    with pytest.raises(ValueError, match=f"starts the decoder with {START}, `generation_config` with 5"):
        model(**inputs, labels=labels)
    setattr(model.config, name, 5)
    assert model.prepare_decoder_input_ids_from_labels(labels)[:, 0].tolist() == [5] * 2


@over_models
def test_samples_of_one_item_differ(factory):
    model, inputs = factory.make_model(), factory.make_inputs(1)
    sequences = generate(factory, model, inputs, "sample several", num_return_sequences=10).sequences
    assert len(sequences.unique(dim=0)) > 1


@over_models
@pytest.mark.parametrize("strategy", ["greedy", "sample several", "beam several", "assisted"])
def test_logits_processors(factory, strategy):
    model, inputs = factory.make_model(), factory.make_inputs(1)
    plain = generate(factory, model, inputs, strategy, max_new_tokens=10).sequences

    def words(**kwargs) -> list[list[int]]:
        sequences = generate(factory, model, inputs, strategy, max_new_tokens=10, **kwargs).sequences
        return [row[1:] for row in sequences.tolist()]

    for row in words(no_repeat_ngram_size=2, min_new_tokens=10):
        pairs = list(zip(row[:-1], row[1:], strict=True))
        assert len(pairs) == len(set(pairs))
    bad = [token for token in plain.unique().tolist() if token > END][:2]
    assert bad, "nothing to forbid"
    for row in words(bad_words_ids=[[token] for token in bad]):
        assert not set(row) & set(bad)
    for row in words(min_new_tokens=6):
        assert END not in row[:5]


@over_models
@pytest.mark.parametrize("strategy", ["greedy", "beam", "prompt lookup"])
def test_stopping_criteria(factory, strategy):
    class StopAtThree(StoppingCriteria):
        def __call__(self, input_ids, scores, **kwargs):
            return torch.full((input_ids.shape[0],), input_ids.shape[1] >= prompt + 1 + 3)

    model, inputs = factory.make_model(), factory.make_inputs(1)
    prompt = prompt_length(model, inputs)
    outputs = generate(factory, model, inputs, strategy, min_new_tokens=6, stopping_criteria=[StopAtThree()])
    expected = generate(factory, model, inputs, "greedy", min_new_tokens=6).sequences
    # The candidates of a step are accepted together.
    assert outputs.sequences.shape[1] == 4 or (strategy == "prompt lookup" and outputs.sequences.shape[1] < 8)
    if strategy == "greedy":
        assert outputs.sequences.equal(expected[:, :4])


@over_models
@pytest.mark.parametrize("strategy", ["greedy", "sample", "prompt lookup"])
def test_streamer(factory, strategy):
    class Collector(BaseStreamer):
        def __init__(self):
            self.tokens, self.ended = [], False

        def put(self, value):
            self.tokens += value.flatten().tolist()

        def end(self):
            self.ended = True

    model, inputs, streamer = factory.make_model(), factory.make_inputs(1), Collector()
    outputs = generate(factory, model, inputs, strategy, streamer=streamer)
    assert streamer.tokens[prompt_length(model, inputs) :] == outputs.sequences[0].tolist()
    assert streamer.ended


@over_models
def test_number_of_new_tokens(factory):
    model, inputs = factory.make_model(), factory.make_inputs(2)
    set_bias(model, END, -30.0)
    prompt, given = prompt_length(model, inputs), generation_inputs(model, inputs)
    assert model.generate(**given).shape == (2, model.generation_config.max_length)
    assert model.generate(**given, max_new_tokens=4).shape == (2, prompt + 5)
    assert model.generate(**given, max_length=4).shape == (2, 4)
    behind = generation_inputs(model, inputs, *make_prefix(2, 4).values())
    assert model.generate(**behind, max_new_tokens=4).shape == (2, prompt + 8)
    config = GenerationConfig(max_new_tokens=3)
    assert model.generate(**given, generation_config=config).shape == (2, prompt + 4)


@over_models
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_bfloat16_weights(factory, strategy):
    model = factory.make_model().bfloat16()
    inputs = factory.make_inputs(1 if strategy in ONE_SEQUENCE else 2)
    inputs = to_dtype(inputs, torch.bfloat16)
    if "assisted" in strategy:
        strategy, more = "greedy", {"assistant_model": factory.make_model().bfloat16()}
    else:
        more = {}
    outputs = generate(factory, model, inputs, strategy, **more)
    exact, _, real = teacher_forced(model.float(), to_dtype(inputs, torch.float32), outputs.sequences)
    assert attention_maps(outputs).dtype == torch.float32
    if "beam" not in strategy and not more:
        scores = model.compute_transition_scores(outputs.sequences, outputs.scores, normalize_logits=True)
        expected = log_probabilities(allowed(exact), outputs.sequences)
        assert_close(scores[real], expected[real], rtol=0.05, atol=0.15)


@over_encoder_decoders
def test_memory_in_place_of_inputs(factory):
    model, inputs = factory.make_model(), factory.make_inputs(3)
    with torch.no_grad():
        encoder_outputs = model.get_encoder()(**inputs)
    for strategy in ("greedy", "beam several"):
        expected = generate(factory, model, inputs, strategy).sequences
        assert generate(factory, model, {"encoder_outputs": encoder_outputs}, strategy).sequences.equal(expected)


@pytest.mark.slow
@over_models
def test_compiled_forward_generates_the_same(factory):
    model, inputs = factory.make_model(), factory.make_inputs(2)
    expected = generate(factory, model, inputs, "greedy").sequences
    torch._dynamo.reset()
    model.forward = torch.compile(model.forward, backend="eager", dynamic=True)
    assert generate(factory, model, inputs, "greedy").sequences.equal(expected)
    torch._dynamo.reset()


@over_encoder_decoders
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_no_numbers_are_reported(factory, value):
    model, inputs = factory.make_model(), factory.make_inputs(3)
    if not inputs[factory.content].is_floating_point():
        pytest.skip("tokens are always numbers")
    inputs[factory.content][1, 0, 2] = value
    with pytest.raises(ValueError, match=r"\[1\].*not finite"):
        model.generate(**inputs)


@over_models
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_weight_that_is_no_number_is_reported(factory, strategy):
    model, inputs = factory.make_model(), factory.make_inputs(1)
    with torch.no_grad():
        next(weight for name, weight in model.named_parameters() if name.endswith("readout.weight"))[0, 0] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        generate(factory, model, inputs, strategy)


@over_models
@pytest.mark.parametrize("strategy", ["greedy", "beam"])
def test_so_is_the_logit_of_a_token_that_is_never_generated(factory, strategy):
    """What is suppressed hides it from the choice, and it tells of a broken checkpoint all the same."""
    model, inputs = factory.make_model(), factory.make_inputs(1)
    set_bias(model, PAD, torch.nan)
    with pytest.raises(ValueError, match="NaN"):
        generate(factory, model, inputs, strategy)


@over_encoder_decoders
def test_an_item_without_any_position_is_refused(factory):
    model, inputs = factory.make_model(), factory.make_inputs(3)
    inputs[factory.mask][2] = 0
    with pytest.raises(ValueError, match=r"\[2\].*(masked|padding)"):
        model.generate(**inputs)


@over_encoder_decoders
def test_no_input_is_refused(factory):
    model, inputs = factory.make_model(), factory.make_inputs(1)
    with pytest.raises(ValueError, match=factory.content):
        model.generate()
    with pytest.raises(ValueError, match="decoder_input_ids"):
        model(**inputs)
    with pytest.raises(ValueError, match=factory.content):
        model(decoder_input_ids=make_prefix(1)["decoder_input_ids"])


@over_models
def test_caches_of_another_kind_are_refused(factory):
    model, inputs = factory.make_model(), factory.make_inputs(1)
    with pytest.raises(ValueError, match="past_key_values"):
        model.generate(**inputs, past_key_values=DynamicCache())
    with pytest.raises(ValueError, match="cache_implementation"):
        model.generate(**inputs, cache_implementation="quantized")
    with pytest.raises(ValueError, match="past_key_values"):
        model(**inputs, **(make_prefix(1) if factory.has_encoder else {}), past_key_values=DynamicCache())
