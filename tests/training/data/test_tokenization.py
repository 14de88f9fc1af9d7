"""Every type of tokenizer gives clean text back, also after saving and loading."""

import json
from pathlib import Path

import pytest
from tokenizers import processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from hf_attention.training.data.tokenization import (
    load_tokenizer,
    train_tokenizer,
    warn_of_unknown_words,
    with_bpe_dropout,
)


SENTENCES = [
    "She said: \"I can't wait - it's 7:45 (already)!\"",
    "The well-known baker sold 1,250 rolls for $3.50 each...",
    "Über den Fluß führt eine schöne, 300 Jahre alte Brücke.",
    "L'été, j'ai vu l'oiseau d'Élise ; qu'il était « beau » !",
    "오늘은 비가 와서, 우산을 2개 샀어요. 정말이야?",
    "Good job 🎉👍🏽 said the 👩‍🚀.",
]


FULL = ["word_punct", "bpe", "unigram"]


SIZES = {"word_punct": 300, "bpe": 320, "unigram": 420}


def train(tokenizer_type: str, **kwargs) -> PreTrainedTokenizerFast:
    return train_tokenizer(SENTENCES, tokenizer_type, vocab_size=SIZES[tokenizer_type], **kwargs)


def decoded(tokenizer: PreTrainedTokenizerFast, text: str) -> str:
    return tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True)


@pytest.fixture(params=FULL)
def tokenizer(request: pytest.FixtureRequest, tmp_path: Path) -> PreTrainedTokenizerFast:
    train(request.param).save_pretrained(tmp_path)
    return AutoTokenizer.from_pretrained(tmp_path)


def test_a_ready_tokenizer_closes_its_texts(tmp_path: Path) -> None:
    """Else a model trained with it would never stop."""
    tokenizer = train("bpe")
    tokenizer.save_pretrained(tmp_path)
    assert load_tokenizer(tmp_path, closes_texts=True)("a") == tokenizer("a")
    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel()
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="does not close a text with its end token, '</s>'"):
        load_tokenizer(tmp_path, closes_texts=True)
    load_tokenizer(tmp_path)  # a processor closes them
    tokenizer.bos_token = None
    tokenizer.save_pretrained(tmp_path)
    assert load_tokenizer(tmp_path).bos_token == "<pad>"
    tokenizer.eos_token = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no eos_token"):
        load_tokenizer(tmp_path)


def test_the_text_comes_back(tokenizer: PreTrainedTokenizerFast) -> None:
    for text in SENTENCES:
        ids = tokenizer(text)["input_ids"]
        assert ids[-1] == 3 and not {0, 1, 2, 3} & set(ids[:-1])
        assert decoded(tokenizer, text) == text
    ids = tokenizer(SENTENCES, padding=True)["input_ids"]
    assert tokenizer.batch_decode(ids, skip_special_tokens=True) == SENTENCES


def test_special_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.convert_tokens_to_ids(["<pad>", "<unk>", "<s>", "</s>"]) == [0, 1, 2, 3]
    assert tokenizer.all_special_ids == [2, 3, 1, 0]
    assert tokenizer("")["input_ids"] == [3]


@pytest.mark.parametrize("tokenizer_type", ["bpe", "unigram"])
def test_characters_never_seen_come_back(tokenizer_type: str) -> None:
    tokenizer = train(tokenizer_type)
    for text in ("Čeština zní pěkně", "ずっと雨です", "🦔 <3"):
        assert 1 not in tokenizer(text)["input_ids"]
        assert decoded(tokenizer, text) == text


def test_white_space() -> None:
    text = "two  rolls\tfor\n the   baker "
    squeezed = "two rolls for the baker"
    assert decoded(train_tokenizer([squeezed], "word_punct"), text) == squeezed
    assert decoded(train("unigram"), text) == squeezed
    assert decoded(train("bpe"), text) == text
    assert decoded(train("bpe"), " " + text) == text, "one space at the start is lost"


def test_word_punct_splits_marks_and_keeps_hyphens() -> None:
    tokenizer = train_tokenizer(["a t-shirt, isn't it?", "isn't (a)"], "word_punct")
    assert tokenizer.tokenize("a t-shirt, isn't it?") == ["▁a", "▁t-shirt", ",", "▁isn", "'", "t", "▁it", "?"]
    assert tokenizer.tokenize("Is a (t-shirt)?") == ["<unk>", "▁a", "▁(", "<unk>", ")", "?"]
    frequent = train_tokenizer(["a t-shirt, isn't it?", "isn't (a)"], "word_punct", min_count=2)
    assert set(frequent.get_vocab()) == {"<pad>", "<unk>", "<s>", "</s>", "▁isn", "'", "t"}


@pytest.mark.parametrize("tokenizer_type", FULL)
def test_lowercase(tokenizer_type: str) -> None:
    assert decoded(train(tokenizer_type, lowercase=True), SENTENCES[2]) == SENTENCES[2].lower()


def test_decomposed_characters_are_composed(tokenizer: PreTrainedTokenizerFast) -> None:
    assert decoded(tokenizer, "Bru\u0308cke.") == decoded(tokenizer, "Br\u00fccke.")


def test_vocabularies_stay_within_their_size() -> None:
    for tokenizer_type, size in SIZES.items():
        assert len(train(tokenizer_type)) <= size
    assert len(train_tokenizer(SENTENCES, "word_punct", vocab_size=20)) == 20


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"tokenizer_type": "unigram", "vocab_size": 260}, "`vocab_size` must exceed 260"),
        ({"tokenizer_type": "unigram", "vocab_size": 270}, "`vocab_size`=270 is too small"),
        ({"tokenizer_type": "unigram", "min_count": 2}, "`min_count` must be 1"),
        ({"tokenizer_type": "word_punct", "min_count": 99}, "`min_count`=99"),
        ({"tokenizer_type": "sentencepiece"}, "got 'sentencepiece'"),
    ],
)
def test_refuses(kwargs: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train_tokenizer(SENTENCES, **kwargs)


def test_bpe_dropout_cuts_differently_and_leaves_the_tokenizer_alone(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(SENTENCES * 3, "bpe", vocab_size=500)
    before = tokenizer.tokenize(SENTENCES[0])
    dropping = with_bpe_dropout(tokenizer, 0.3)
    cuts = [dropping(SENTENCES[0])["input_ids"] for _ in range(20)]
    assert len({tuple(ids) for ids in cuts}) > 5
    assert {dropping.decode(ids, skip_special_tokens=True) for ids in cuts} == {SENTENCES[0]}
    assert all(ids[-1] == 3 for ids in cuts)
    assert len(with_bpe_dropout(tokenizer, 1.0).tokenize("rolls")) == len(" rolls")
    assert with_bpe_dropout(tokenizer, 0.0).tokenize(SENTENCES[0]) == before

    assert all(tokenizer.tokenize(SENTENCES[0]) == before for _ in range(5))
    tokenizer.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "tokenizer.json").read_text())["model"]["dropout"] is None


def test_dropout_refuses() -> None:
    with pytest.raises(ValueError, match="`dropout` must be from 0 to 1, got 1.5"):
        with_bpe_dropout(train("bpe"), 1.5)
    with pytest.raises(ValueError, match="got one of Unigram"):
        with_bpe_dropout(train("unigram"), 0.1)


TEXTS = ["A dog's t-shirt , red .", "a dog runs", "The DOG sleeps !", "a cat runs"]


def test_word_tokenizer(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(TEXTS, "word", min_count=2)
    assert tokenizer.convert_tokens_to_ids(["<pad>", "<unk>", "<s>", "</s>"]) == [0, 1, 2, 3]
    assert set(tokenizer.get_vocab()) == {"<pad>", "<unk>", "<s>", "</s>", "a", "dog", "runs"}
    tokenizer.save_pretrained(tmp_path)
    for loaded in (tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
        ids = loaded("A dog , runs !")["input_ids"]
        assert loaded.convert_ids_to_tokens(ids) == ["a", "dog", "runs", "</s>"]
        assert loaded.decode(ids, skip_special_tokens=True) == "a dog runs"
        assert loaded.convert_ids_to_tokens(loaded("a bird")["input_ids"]) == ["a", "<unk>", "</s>"]


def test_word_tokenizer_keeps_inner_hyphens_and_apostrophes() -> None:
    tokenizer = train_tokenizer(TEXTS, "word")
    assert tokenizer.tokenize(TEXTS[0]) == ["a", "dog's", "t-shirt", "red"]


def test_bpe_tokenizer_gives_the_text_back(tmp_path: Path) -> None:
    train_tokenizer(TEXTS, "bpe", vocab_size=300).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    for text in [*TEXTS, "Ein Übermut, 개!"]:
        ids = tokenizer(text)["input_ids"]
        assert ids[-1] == 3
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"tokenizer_type": "char"}, "`tokenizer_type` must be"),
        ({"tokenizer_type": "bpe", "vocab_size": 100}, "`vocab_size` must be at least 260"),
        ({"tokenizer_type": "word", "vocab_size": 4}, "`vocab_size` must exceed"),
        ({"tokenizer_type": "word", "min_count": 9}, "`min_count`=9"),
    ],
)
def test_tokenizer_refuses(kwargs: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train_tokenizer(TEXTS, **kwargs)


def test_texts_of_unknown_words_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = train_tokenizer(["a red ring", "a blue box"])
    tokenizer.model_max_length = 2  # nor is a long text one that is cut
    for texts in (["a red box", "a blue ring"], ["a red box"] * 4 + ["a dog"], []):
        warn_of_unknown_words(tokenizer, texts, "captions")
    assert not caplog.text
    warn_of_unknown_words(tokenizer, ["a dog", "a red cat runs"], "captions")
    assert "The tokenizer does not know 50 % of the words of the captions" in caplog.text
    caplog.clear()
    bytes_of_all = train_tokenizer(["a red ring"], tokenizer_type="bpe", vocab_size=300)
    warn_of_unknown_words(bytes_of_all, ["Grüße, 개"], "captions")
    assert not caplog.text
