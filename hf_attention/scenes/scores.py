"""Which pairs of colour and shape a text names, and how many of them are there."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .scene import COLOURS, SHAPES, Pair, SceneObject


SHAPE_OF_NOUN = {noun: shape for shape, nouns in SHAPES.items() for noun in nouns}
PAIR_PATTERN = re.compile(rf"\b({'|'.join(COLOURS)})\s+({'|'.join(SHAPE_OF_NOUN)})\b", re.IGNORECASE)


def named_pairs(text: str) -> list[Pair]:
    """Reads the (colour, shape) pairs that a text names, in its order, whichever noun it uses for a shape."""
    return [(colour.lower(), SHAPE_OF_NOUN[noun.lower()]) for colour, noun in PAIR_PATTERN.findall(text)]


@dataclass(frozen=True)
class PairCounts:
    """How many pairs were named rightly, named at all, and there to be named. Counts of several texts add up."""

    correct: int = 0
    named: int = 0
    present: int = 0

    def __add__(self, other: PairCounts) -> PairCounts:
        return PairCounts(self.correct + other.correct, self.named + other.named, self.present + other.present)

    @property
    def precision(self) -> float:
        """Share of the named pairs that are there; not a number where none was named."""
        return self.correct / self.named if self.named else math.nan

    @property
    def recall(self) -> float:
        """Share of the present pairs that were named; not a number where there was none."""
        return self.correct / self.present if self.present else math.nan


def score_pairs(
    caption: str, objects: Iterable[SceneObject | Mapping[str, Any]], only: Iterable[Pair] | None = None
) -> PairCounts:
    """
    Compares the (colour, shape) pairs that a caption names with those of the scene.

    A pair named twice but present once counts as named twice and right once.

    Args:
        caption (`str`): The text, as a model wrote it.
        objects (iterable of [`~hf_attention.scenes.scene.SceneObject`] or of mappings):
            The scene's objects, or a row's `objects`.
        only (iterable of pairs, *optional*): Count these pairs alone, such as `HELD_OUT_PAIRS`.

    Returns:
        [`PairCounts`]
    """
    named = Counter(named_pairs(caption))
    present = Counter(
        thing.pair if isinstance(thing, SceneObject) else (thing["colour"], thing["shape"]) for thing in objects
    )
    if only is not None:
        only = set(only)
        named = Counter({pair: count for pair, count in named.items() if pair in only})
        present = Counter({pair: count for pair, count in present.items() if pair in only})
    return PairCounts((named & present).total(), named.total(), present.total())
