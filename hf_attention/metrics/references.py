"""References of which an item has one or several, as metrics of `evaluate` take them."""

from collections.abc import Sequence

from datasets import Features, List, Value


def one_or_several_references() -> list[Features]:
    """Texts with a list of references each, or with one each."""
    text = Value("string")
    return [Features({"predictions": text, "references": references}) for references in (List(text), text)]


def as_lists(references: Sequence[Sequence[str] | str]) -> list[list[str]]:
    """A list of references for each item."""
    return [[each] if isinstance(each, str) else list(each) for each in references]
