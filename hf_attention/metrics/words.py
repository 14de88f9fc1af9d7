"""The words of captions: those that a tokenizer of whole words knows, and that metrics compare."""

import re
from collections.abc import Iterator, Sequence

from .languages import UNSPACED_SCRIPTS


WORD = r"\w+(?:[-']\w+)*"
METRIC_TOKENIZER = (
    f"lower case, words of the regular expression {WORD}, without punctuation, and single characters where a script "
    "has no spaces between words"
)
UNSPACED = re.compile(f"[{''.join(UNSPACED_SCRIPTS.values())}]")


def metric_words(text: str) -> list[str]:
    """The words that are compared, see `METRIC_TOKENIZER`."""
    return re.findall(f"{UNSPACED.pattern}|{WORD}", UNSPACED.sub(r" \g<0> ", text.lower()))


def ngrams(words: Sequence[str], max_order: int) -> Iterator[tuple[str, ...]]:
    """
    What follows each other in a sentence.

    Args:
        words (`Sequence[str]`):
            The sentence.
        max_order (`int`):
            Up to so many words.

    Yields:
        `tuple[str, ...]`: Each word, then each two words in a row, and so on.
    """
    for order in range(1, max_order + 1):
        yield from zip(*(words[start:] for start in range(order)), strict=False)
