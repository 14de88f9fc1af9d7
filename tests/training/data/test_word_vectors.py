"""Word vectors of GloVe and fastText."""

import gzip
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hf_attention.training.data.tokenization import train_tokenizer
from hf_attention.training.data.word_vectors import load_word_vectors, read_word_vectors


LINES = {
    "the": [0.1, 0.2, 0.3],
    "Dog": [9.0, 9.0, 9.0],
    "dog": [1.0, -1.0, 0.5],
    "PARIS": [2.0, 0.0, 1.0],
    "Paris": [3.0, 0.0, 1.0],
    "never": [7.0, 7.0, 7.0],
}
GLOVE = "".join(f"{word} {' '.join(map(str, vector))}\n" for word, vector in LINES.items())


def write(path: Path, text: str) -> Path:
    path.write_bytes(gzip.compress(text.encode()) if path.suffix.lower() == ".gz" else text.encode())
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("glove.txt", GLOVE),
        ("wiki.vec", "6 3\n" + GLOVE.replace("\n", " \n")),
        ("glove.txt.gz", GLOVE),
        ("glove.txt.GZ", GLOVE),
        ("glove.txt", GLOVE + ". . . 5 5 5\nthe third 1 2 3\n"),
        ("glove.txt", ". . . 5 5 5\n" + GLOVE),
        ("glove.txt", "\ufeff" + GLOVE.replace(" ", "\t").replace("\n", "\r\n\r\n")),
    ],
    ids=["GloVe", "fastText", "packed", "packed, in capitals", "words with spaces", "one first", "tabs"],
)
def test_only_the_words_asked_for_are_read(name: str, text: str, tmp_path: Path) -> None:
    found = read_word_vectors(write(tmp_path / name, text), ["the", "dog", "cat", "DOG", "paris", "."], 3)
    expected = {"the": "the", "dog": "dog", "DOG": "dog", "paris": "PARIS"}
    assert found.keys() == expected.keys()
    for word, line in expected.items():
        np.testing.assert_array_equal(found[word], np.float32(LINES[line]))


def test_an_embedding_table_starts_with_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    texts = ["the dog sees the cat", "the dog"]
    tokenizer = train_tokenizer(texts)
    table = nn.Embedding(len(tokenizer), 3)
    nn.init.uniform_(table.weight, -0.1, 0.1)
    before = table.weight.detach().clone()
    with caplog.at_level(logging.WARNING):
        share = load_word_vectors(table, write(tmp_path / "glove.txt", GLOVE), tokenizer, [*texts, "the bird"])
    ids = tokenizer.get_vocab()
    for word in ("the", "dog"):
        assert table.weight[ids[word]].tolist() == pytest.approx(LINES[word])
    # Of "the", "dog", "cat" and "sees" two have a vector; so have six of nine tokens, and an unknown one has none.
    assert share == pytest.approx((2 / 4, 6 / 9))
    others = [ids[word] for word in ("cat", "sees", "<unk>", "</s>")]
    scale = torch.tensor([LINES["the"], LINES["dog"]]).std() / before.std()
    torch.testing.assert_close(table.weight[others], before[others] * scale)
    [said] = caplog.messages
    assert "50.0 % of the vocabulary" in said and "pieces" not in said


def test_of_pieces_whole_words_have_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    texts = ["the dog", "a the dogs dogged the dog"] * 9
    path = write(tmp_path / "glove.txt", GLOVE + "gged 4 4 4\n")
    for kind in ("bpe", "unigram", "word_punct"):
        tokenizer = train_tokenizer(texts, kind, vocab_size=300 if kind != "word_punct" else 100)
        table = nn.Embedding(len(tokenizer), 3)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            load_word_vectors(table, path, tokenizer, texts)
        mark = "Ġ" if kind == "bpe" else "▁"
        assert table.weight[tokenizer.get_vocab()[f"{mark}dog"]].tolist() == LINES["dog"]
        assert ("only whole words" in caplog.text) == (kind != "word_punct")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("the 1 2\n", "have 2 numbers, the embeddings 3. `embedding_size` 2 takes them"),
        ("3 2\nthe 1 2\n", "have 2 numbers, the embeddings 3"),
        ("", "is empty"),
        ("PK\3\4 glove.txt", "is no text of words with their numbers; only .gz is unpacked"),
        ("a 1 2 3\ndog 1 2\n", "has no 3 numbers behind 'dog'"),
        ("a 1 2 3\ndog 1 2 3 4\n", "has no 3 numbers behind 'dog'"),
        ("a 1 2 3\ndog 1 x 3\n", "has no 3 numbers behind 'dog'"),
        ("a 1 2 3\ndog 1 nan 3\n", "has no 3 numbers behind 'dog'"),
        ("a 1 2 3\n", "has none of the tokenizer's 2 words"),
    ],
)
def test_what_is_wrong_is_named(text: str, message: str, tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["the dog"])
    with pytest.raises(ValueError, match=message):
        load_word_vectors(
            nn.Embedding(len(tokenizer), 3), write(tmp_path / "vectors.txt", text), tokenizer, ["the dog"]
        )


def test_a_packed_file_that_is_not_whole_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "glove.txt.gz", GLOVE)
    for content in (path.read_bytes()[:-9], GLOVE.encode()):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="glove.txt.gz cannot be unpacked: "):
            read_word_vectors(path, ["dog"], 3)
