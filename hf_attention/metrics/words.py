"""The words of captions: those that a tokenizer of whole words knows, and that metrics compare."""

import re

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
