"""Word vectors that others have trained (GloVe, fastText), for a model's embeddings."""

import logging
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice, takewhile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedTokenizerFast

from ...arguments import CheckedArguments
from .packed import open_unpacked


logger = logging.getLogger(__name__)

# By these a token of a word's beginning is told from one that goes on with it.
BEGINNINGS = ("Ġ", "▁")


@dataclass
class WordVectorArguments(CheckedArguments):
    """Where the embeddings start."""

    embeddings: str | None = field(
        default=None,
        metadata={
            "help": "File of pretrained word vectors, GloVe's text or fastText's .vec, also as .gz, from which the "
            "embeddings of what is read start; embedding_size must be theirs."
        },
    )

    def load_into(
        self,
        table: nn.Embedding,
        tokenizer: PreTrainedTokenizerFast,
        read_texts: Callable[[], Iterable[str]],
        size_argument: str = "embedding_size",
    ) -> None:
        """Puts the vectors into an embedding table, where there are some; see [`load_word_vectors`]."""
        if self.embeddings is not None:
            load_word_vectors(table, self.embeddings, tokenizer, read_texts(), size_argument=size_argument)


class Share(NamedTuple):
    """
    How many words of a vocabulary have a vector.

    Args:
        types (`float`):
            Of the vocabulary, without special tokens.
        tokens (`float`):
            Of the tokens of the training texts; an unknown word has none.
    """

    types: float
    tokens: float


def load_word_vectors(
    table: nn.Embedding,
    path: str | Path,
    tokenizer: PreTrainedTokenizerFast,
    texts: Iterable[str],
    argument: str = "embeddings",
    size_argument: str = "embedding_size",
) -> Share:
    """
    Puts word vectors into an embedding table, and says for how many words there are some. The other words keep their
    random start, in the scale of the vectors.

    A word has the vector of the same word, else of the word in lower case, else the first that is the same but for
    case. Of a tokenizer of pieces, whole words alone have one.

    Args:
        table (`nn.Embedding`):
            The embeddings of the tokenizer's tokens.
        path (`str` or `Path`):
            Lines of a word and its numbers, divided by spaces or tabs, in UTF-8; fastText's first line, of two
            numbers, is passed over. `.gz` is unpacked on the way, and only what is needed is kept.
        tokenizer (`PreTrainedTokenizerFast`):
            Has the words.
        texts (`Iterable[str]`):
            The training texts, for the share of tokens.
        argument, size_argument (`str`, *optional*):
            The options of the file and of the table's size, for errors.

    Returns:
        [`Share`]: The shares that were found.

    Raises:
        ValueError: If the vectors are of another size than the table, the file has none, or none of the words.
    """
    words = {index: word for token, index in tokenizer.get_vocab().items() if (word := _word(token, tokenizer))}
    vectors = read_word_vectors(path, words.values(), table.embedding_dim, argument, size_argument)
    rows = {index: vectors[word] for index, word in words.items() if word in vectors}
    if not rows:
        raise ValueError(f"`{argument}`: {path} has none of the tokenizer's {len(words)} words.")
    found = torch.from_numpy(np.stack([*rows.values()])).to(table.weight)
    with torch.no_grad():
        table.weight.mul_(found.std() / table.weight.std())
        table.weight[list(rows)] = found
    share = _share(tokenizer, rows.keys(), texts)
    logger.warning(
        "%s has vectors for %.1f %% of the vocabulary, and %.1f %% of the training texts.%s",
        path,
        100 * share.types,
        100 * share.tokens,
        "" if _is_of_words(tokenizer) else " The tokenizer cuts words into pieces: only whole words have one.",
    )
    return share


def _is_of_words(tokenizer: PreTrainedTokenizerFast) -> bool:
    return type(tokenizer.backend_tokenizer.model).__name__ == "WordLevel"


def _word(token: str, tokenizer: PreTrainedTokenizerFast) -> str | None:
    """The word that a token is, if it is a whole one."""
    if token in tokenizer.all_special_tokens:
        return None
    kind = type(tokenizer.backend_tokenizer.model).__name__
    if kind == "WordLevel":
        return token.removeprefix("▁")
    if kind == "WordPiece":
        return None if token.startswith("##") else token
    return tokenizer.convert_tokens_to_string([token]).strip() if token.startswith(BEGINNINGS) else None


def _share(tokenizer: PreTrainedTokenizerFast, known: Iterable[int], texts: Iterable[str]) -> Share:
    counts: Counter[int] = Counter()
    texts = iter(texts)
    while batch := list(islice(texts, 1000)):
        for ids in tokenizer(batch, add_special_tokens=False, verbose=False)["input_ids"]:
            counts.update(ids)
    known = {*known}
    types = len(tokenizer) - len(tokenizer.all_special_tokens)
    return Share(len(known) / types, sum(counts[index] for index in known) / max(counts.total(), 1))


def read_word_vectors(
    path: str | Path,
    words: Iterable[str],
    size: int,
    argument: str = "embeddings",
    size_argument: str = "embedding_size",
) -> dict[str, np.ndarray]:
    """
    The vectors of some words, as [`load_word_vectors`] finds them.

    Args:
        path (`str` or `Path`):
            The file.
        words (`Iterable[str]`):
            The words.
        size (`int`):
            How many numbers a vector must have.
        argument, size_argument (`str`, *optional*):
            The options of the file and of the size, for errors.

    Returns:
        `dict[str, np.ndarray]`: The vectors that were found, by the words asked for.

    Raises:
        ValueError: If the file has no vectors, or some of another size.
    """
    words = {*words}
    lowered = {word.lower() for word in words}
    exact: dict[str, np.ndarray] = {}
    in_lower_case: dict[str, np.ndarray] = {}
    first: dict[str, np.ndarray] = {}
    has_any = False
    for word, rest in _vectors(Path(path)):
        if not has_any:
            _check_size(rest.split(), size, path, argument, size_argument)
        has_any = True
        lower = word.lower()
        if lower not in lowered or (word not in words and word != lower and lower in first):
            continue
        numbers = rest.split()
        if len(numbers) > size and not _is_number(numbers[0]):  # a word with spaces, which no token is
            continue
        vector = _vector(numbers)
        if vector is None or len(vector) != size:
            raise ValueError(f"`{argument}`: {path} has no {size} numbers behind {word!r}.")
        exact.setdefault(word, vector)
        first.setdefault(lower, vector)
        if word == lower:
            in_lower_case.setdefault(lower, vector)
    if not has_any:
        raise ValueError(f"`{argument}`: {path} is empty.")
    found = {word: exact.get(word, in_lower_case.get(word.lower(), first.get(word.lower()))) for word in words}
    return {word: vector for word, vector in found.items() if vector is not None}


def _check_size(numbers: list[bytes], size: int, path: str | Path, argument: str, size_argument: str) -> None:
    """Refuses a file by what stands behind the first word of its first line: the vector, or more words before it."""
    found = sum(1 for _ in takewhile(_is_number, reversed(numbers)))
    if found == 0:
        raise ValueError(f"`{argument}`: {path} is no text of words with their numbers; only .gz is unpacked.")
    if found != size:
        raise ValueError(
            f"`{argument}`: the vectors of {path} have {found} numbers, the embeddings {size}. "
            f"`{size_argument}` {found} takes them."
        )


def _vectors(path: Path) -> Iterator[tuple[str, bytes]]:
    """The words of a file, and what stands behind each."""
    with open_unpacked(path) as file:
        for number, line in enumerate(file, 1):
            word, rest = (*line.removeprefix(BOM_UTF8).split(None, 1), b"", b"")[:2]
            is_header = number == 1 and word.isdigit() and rest.strip().isdigit()  # fastText's
            if word and not is_header:
                yield word.decode(errors="replace"), rest


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _vector(numbers: list[bytes]) -> np.ndarray | None:
    try:
        vector = np.array([float(number) for number in numbers], dtype=np.float32)
    except ValueError:
        return None
    return vector if np.isfinite(vector).all() else None
