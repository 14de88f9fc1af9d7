"""Strings that end a text, in vocabularies of words, beside transformers' criterion in one of pieces."""

import pytest
import torch
from transformers import GenerationConfig, PreTrainedTokenizerFast, StopStringCriteria

from hf_attention import (
    AttentionSeq2SeqConfig,
    AttentionSeq2SeqForConditionalGeneration,
    AttentionSeq2SeqTokenizer,
    special_token_ids,
)
from hf_attention.models.stop_strings import StopAtStrings
from hf_attention.training.data.tokenization import train_tokenizer


TEXTS = ["a small red circle", "a big blue square , left of it", "it 's a T-shirt !"] * 3


@pytest.mark.parametrize("tokenizer_type", ["word", "word_punct", "space"])
@pytest.mark.parametrize("stop", ["red circle", ["square", "blue"]])
@pytest.mark.parametrize("has_two_sides", [False, True])
def test_a_text_ends_with_the_string(tokenizer_type: str, stop: str | list[str], has_two_sides: bool) -> None:
    tokenizer = target = train_tokenizer(TEXTS, tokenizer_type)
    if has_two_sides:
        tokenizer = AttentionSeq2SeqTokenizer.from_tokenizers(train_tokenizer(["other words"], tokenizer_type), target)
    model = _model_that_says(target, ids := target("a small red circle a big blue square")["input_ids"][:-1])
    expected = "a small red circle" if stop == "red circle" else "a small red circle a big blue"
    inputs = {"input_ids": torch.tensor([[4, 3]]), "max_new_tokens": len(ids), "tokenizer": tokenizer}
    assert tokenizer.decode(model.generate(**inputs)[0, 1:]).split() == "a small red circle a big blue square".split()
    for more in ({"stop_strings": stop}, {"generation_config": GenerationConfig(stop_strings=stop)}):
        assert tokenizer.decode(model.generate(**inputs, **more)[0, 1:]).strip() == expected
    model.generation_config.stop_strings = stop
    assert tokenizer.decode(model.generate(**inputs)[0, 1:]).strip() == expected


def _model_that_says(tokenizer: PreTrainedTokenizerFast, ids: list[int]) -> AttentionSeq2SeqForConditionalGeneration:
    """One whose logits are those of the tokens in turn."""
    ids_of = special_token_ids(tokenizer)
    model = AttentionSeq2SeqForConditionalGeneration(
        AttentionSeq2SeqConfig(vocab_size=len(tokenizer), **ids_of)
    ).eval()

    def say(module, args, kwargs, outputs):
        step = say.step
        say.step = (step + 1) % len(ids)
        outputs.logits = torch.zeros_like(outputs.logits)
        outputs.logits[..., ids[step]] = 9.0
        return outputs

    say.step = 0
    generate = model.generate

    def generate_anew(**kwargs):
        say.step = 0
        return generate(**kwargs)

    model.generate = generate_anew
    model.register_forward_hook(say, with_kwargs=True)
    return model


@pytest.mark.parametrize("tokenizer_type", ["bpe", "unigram"])
def test_pieces_are_read_as_transformers_reads_them(tokenizer_type: str) -> None:
    tokenizer = train_tokenizer(TEXTS, tokenizer_type, vocab_size=300)
    ours, theirs = StopAtStrings(tokenizer, ["red c"]), StopStringCriteria(tokenizer, ["red c"])
    for text in ("a small red circle", "a small red", "a red car"):
        ids = torch.tensor([tokenizer(text)["input_ids"][:-1]])
        for length in range(1, ids.shape[1] + 1):
            assert ours(ids[:, :length], None).tolist() == theirs(ids[:, :length], None).tolist()
