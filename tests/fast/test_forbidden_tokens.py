"""Tokens that are forbidden at once, held against transformers' own processors."""

import pytest
import torch
from common.factories import END, generation_inputs, over_models
from transformers import (
    LogitsProcessorList,
    MinLengthLogitsProcessor,
    MinNewTokensLengthLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
)

from hf_attention import fast
from hf_attention.fast.forbidden_tokens import forbid_tokens


VOCABULARY = 11


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("length", [1, 3, 4, 6])
def test_scores_are_those_of_the_processors(length, dtype):
    processors = LogitsProcessorList(
        [
            SuppressTokensLogitsProcessor([0, 0, 5, VOCABULARY, -1]),  # the last two are no tokens
            SuppressTokensLogitsProcessor([]),
            MinLengthLogitsProcessor(5, torch.tensor(8)),
            MinLengthLogitsProcessor(5, torch.tensor([4], dtype=torch.int32)),
            MinLengthLogitsProcessor(4, [3, 7]),
            MinNewTokensLengthLogitsProcessor(3, 2, 2),
            RepetitionPenaltyLogitsProcessor(1.5),
            MinLengthLogitsProcessor(6, 9),
        ]
    )
    ids, scores = torch.randint(VOCABULARY, (4, length)), torch.randn(4, VOCABULARY, dtype=dtype)
    before = scores.clone()
    joined = forbid_tokens(processors, ids)
    assert len(joined) == 3
    assert torch.equal(joined(ids, scores), processors(ids, scores))
    assert torch.equal(scores, before)  # which may be returned as the logits


SETTINGS = {"min_new_tokens": 3, "max_new_tokens": 6, "suppress_tokens": [END + 1, 10**6]}


@over_models
def test_beam_search_finds_what_it_would(factory):
    model, inputs = factory.make_model(), factory.make_inputs(3)
    given = {**generation_inputs(model, inputs, None, None), **SETTINGS, "num_beams": 3}
    quick = model.generate(**given)
    with fast.disable("forbidden_tokens"):
        assert torch.equal(quick, model.generate(**given))


@over_models
def test_greedy_search_returns_what_it_would(factory):
    """The scores and the logits, too."""
    model, inputs = factory.make_model(), factory.make_inputs(3)
    given = {**generation_inputs(model, inputs, None, None), **SETTINGS, "return_dict_in_generate": True}
    given |= {"output_scores": True, "output_logits": True}
    quick = model.generate(**given)
    with fast.disable("forbidden_tokens"):
        plain = model.generate(**given)
    assert torch.equal(quick.sequences, plain.sequences)
    for name in ("scores", "logits"):
        for step, expected in zip(quick[name], plain[name], strict=True):
            assert torch.equal(step, expected)
