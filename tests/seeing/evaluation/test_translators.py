import pytest
import torch
from common.evaluated import make_arguments

from hf_attention import AttentionSeq2SeqConfig, AttentionSeq2SeqForConditionalGeneration
from hf_attention.scenes.toy_language import TOY_LANGUAGE, make_translations
from hf_attention.seeing.evaluation.translators import Translations
from hf_attention.training.data.tokenization import train_tokenizer


def test_a_translator_that_looks_where_it_should(tmp_path, monkeypatch):
    sentences = [row["translation"] for row in make_translations(train=60, validation=1, test=4)["train"]]
    tokenizer = train_tokenizer((text for row in sentences for text in row.values()), min_count=1)
    sizes = {"embedding_size": 4, "hidden_size": 8, "encoder_hidden_size": 3, "attention_size": 4}
    model = AttentionSeq2SeqForConditionalGeneration(AttentionSeq2SeqConfig(vocab_size=len(tokenizer), **sizes))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    measured = Translations(str(tmp_path), make_arguments(samples=3)).measure()
    assert 0 < measured["alignment_error_rate"] < 1

    test = make_translations(train=0, validation=0, test=3)["test"]
    known = {row["translation"]["en"]: row["alignment"] for row in test}
    lengths = [len(row["alignment"]) for row in test]
    monkeypatch.setattr(Translations, "_links", lambda self, source, target: known[source])
    assert Translations(str(tmp_path), make_arguments(samples=3)).measure()["alignment_error_rate"] == 0
    # One word of each sentence without a link, of n: 1 - 2 (n - 1) / (n - 1 + n).
    monkeypatch.setattr(Translations, "_links", lambda self, source, target: [None, *known[source][1:]])
    words, missing = sum(lengths), len(lengths)
    expected = 1 - 2 * (words - missing) / (2 * words - missing)
    assert Translations(str(tmp_path), make_arguments(samples=3)).measure()["alignment_error_rate"] == pytest.approx(
        expected
    )


def test_links_are_the_maxima_of_maps_merged_into_words(tmp_path, monkeypatch):
    row = make_translations(train=0, validation=0, test=1)["test"][0]["translation"]
    source, target = row["en"], row[TOY_LANGUAGE]
    tokenizer = train_tokenizer([source, target], tokenizer_type="bpe", vocab_size=270)
    sizes = {"embedding_size": 4, "hidden_size": 8, "encoder_hidden_size": 3, "attention_size": 4}
    model = AttentionSeq2SeqForConditionalGeneration(AttentionSeq2SeqConfig(vocab_size=len(tokenizer), **sizes))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    translations = Translations(str(tmp_path), make_arguments())
    wanted = [position % len(source.split()) for position in range(len(target.split()))]
    ids, target_ids = tokenizer(source)["input_ids"], tokenizer(target)["input_ids"]
    assert len(ids) > 1.5 * len(source.split())

    def words_of(ids: list[int]) -> list[int]:
        """By what the tokens up to each one spell; a space goes with the word behind it."""
        spaces = [token == "\u0120" for token in tokenizer.convert_ids_to_tokens(ids)]
        spelled = [len(tokenizer.decode(ids[: number + 1]).split()) for number in range(len(ids) - 1)]
        return [count - 1 + is_space for count, is_space in zip(spelled, spaces, strict=False)]

    of_source, of_target = words_of(ids), words_of(target_ids)
    # On the tokens of the wanted word together there is the most attention, on each of them less than on the end.
    maps = torch.zeros(1, 1, len(target_ids), len(ids))
    for number, word in enumerate(of_target):
        columns = [column for column, other in enumerate(of_source) if other == wanted[word]]
        maps[0, 0, number, columns] = 0.6 / len(columns)
        maps[0, 0, number, -1] = 0.4
    outputs = type("Outputs", (), {"cross_attentions": (maps,)})
    monkeypatch.setattr(translations, "model", lambda **inputs: outputs)
    assert translations._links(source, target) == wanted
    maps[0, 0, :, -1] = 0.7  # the end of the sentence is no word
    assert translations._links(source, target) == [None] * len(wanted)
