"""The words of captions: those that a tokenizer of whole words knows, and that metrics compare."""

import re


WORD = r"\w+(?:[-']\w+)*"
METRIC_TOKENIZER = f"lower case, words of the regular expression {WORD}, without punctuation"


def metric_words(text: str) -> list[str]:
    """The words that are compared, see `METRIC_TOKENIZER`."""
    return re.findall(WORD, text.lower())
