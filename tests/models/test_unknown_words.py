"""Unknown words give way to the source words that the model looked at."""

from pathlib import Path

import pytest
import torch
from transformers import Pipeline, pipeline

from hf_attention import (
    AttentionSeq2SeqConfig,
    AttentionSeq2SeqForConditionalGeneration,
    AttentionSeq2SeqTokenizer,
    TranslationPipeline,
)
from hf_attention.models.unknown_words import replace_unknown_words
from hf_attention.training.data.tokenization import train_tokenizer


SOURCE = "the dog sees Zanzibar and Quito"
TEXTS = ["the dog sees and runs , the dog runs", "the dog runs and sees the dog ."]


def test_each_takes_the_word_that_it_looked_at_most() -> None:
    maps = torch.tensor([[0.9, 0.1, 0.0], [0.3, 0.2, 0.5], [0.2, 0.7, 0.1]])
    words = replace_unknown_words(["<unk>", "is", "<unk>"], maps, ["Ann", "tall", ""])
    assert words == ["Ann", "is", "tall"]
    # Without a word there, the next best.
    assert replace_unknown_words(["<unk>"], maps[1:2], ["Ann", "tall", ""]) == ["Ann"]
    with pytest.raises(ValueError, match=r"\(1, 3\), got \(3, 3\)"):
        replace_unknown_words(["<unk>"], maps, ["Ann", "is", ""])
    with pytest.raises(ValueError, match="no word"):
        replace_unknown_words(["<unk>"], maps[:1], ["", "", ""])


@pytest.fixture(params=["joint", "separate"])
def translator(request: pytest.FixtureRequest, tmp_path: Path) -> Pipeline:
    """A model whose most likely word is the unknown one, and that then looks about."""
    tokenizer = train_tokenizer(TEXTS, "word_punct", min_count=1)
    if request.param == "separate":
        tokenizer = AttentionSeq2SeqTokenizer.from_tokenizers(tokenizer, train_tokenizer(TEXTS, "word_punct", 6))
    target = getattr(tokenizer, "target_tokenizer", tokenizer)
    sizes = {"embedding_size": 4, "hidden_size": 8, "encoder_hidden_size": 3, "attention_size": 4}
    config = AttentionSeq2SeqConfig(
        vocab_size=len(target), source_vocab_size=len(tokenizer), unk_token_id=1, bos_token_id=2, **sizes
    )
    model = AttentionSeq2SeqForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "bias" not in name:
                parameter *= 1 if name.startswith("lm_head") else 8
        model.lm_head.bias[tokenizer.unk_token_id] = 2.0
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return pipeline("translation", model=str(tmp_path))


@pytest.mark.parametrize("batch_size", [1, 2])
def test_the_pipeline_replaces_them(translator: Pipeline, batch_size: int) -> None:
    sources = [SOURCE, "runs Oslo"]
    settings = {
        "min_new_tokens": 6,
        "max_new_tokens": 6,
        "batch_size": batch_size,
        "num_beams": 2,
        "output_attentions": True,
    }
    answers = translator(sources, replace_unknown=True, **settings)
    for source, answer in zip(sources, answers, strict=True):
        assert "<unk>" in answer["tokens"] and "<unk>" not in answer["translation_text"]
        columns = [*source.split(), ""]
        assert len(answer["source_tokens"]) == len(columns)
        expected = []
        for token, weights in zip(answer["tokens"], answer["attentions"], strict=True):
            word = columns[int(weights[:-1].argmax())] if token == "<unk>" else token.strip("▁")
            expected += [word] if token not in ("<s>", "</s>") else []
        assert answer["translation_text"].split() == expected

    # Otherwise no unknown word is written, and no maps are kept where none are asked for.
    assert "<unk>" not in translator(SOURCE, **settings)[0]["tokens"]
    settings.pop("output_attentions")
    answers = translator(sources, replace_unknown=True, **settings)
    assert all(set(answer) == {"translation_text"} for answer in answers)


def test_it_may_be_asked_for_when_the_pipeline_is_made(translator: Pipeline) -> None:
    settings = {"min_new_tokens": 6, "max_new_tokens": 6}
    whole = translator(SOURCE, replace_unknown=True, output_attentions=True, **settings)[0]
    parts = {"model": translator.model, "tokenizer": translator.tokenizer, "device": "cpu", **settings}
    replacing = TranslationPipeline(replace_unknown=True, **parts)
    [answer] = replacing(SOURCE, output_attentions=True)
    assert answer.keys() == whole.keys() and answer["tokens"] == whole["tokens"]
    [answer] = TranslationPipeline(output_attentions=True, **parts)(SOURCE, replace_unknown=True)
    assert answer.keys() == whole.keys() and answer["translation_text"] == whole["translation_text"]
    [answer] = replacing(SOURCE, replace_unknown=False)
    assert answer == translator(SOURCE, **settings)[0] != {"translation_text": whole["translation_text"]}
    [answer] = replacing(SOURCE, return_tensors=True)
    assert answer.keys() == {"translation_token_ids"}
    [answer] = translator(SOURCE, replace_unknown=True, return_text=False, **settings)  # no effect
    assert answer == {"translation_text": whole["translation_text"]}
