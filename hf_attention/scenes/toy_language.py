"""
A language made by rule, into which every caption of a scene translates in one way only.

It gives translation what `scenes` gives captioning: sentences without end, nothing to download, and a known answer,
here also to the question which source word each target word comes from. The words are invented. The grammar:

- adjectives follow their noun, in reverse (`a small red ring` becomes *ring red small*), and end as the noun's class
  asks, which the noun does not show; there is no article;
- a relation comes after both its nouns and ends as the class of the first asks; the second noun takes the ending `en`;
- what stands under the whole comes first (*ground striped on*), and what opens an English sentence comes last:
  *picture*, or the verb, which tells one object from several.

Words that captions only ever use together (*a picture of*, *there is*, *on a ... ground*) vary here, each by itself:
else either could be translated by a look at the other, and nothing would tell which of them a word comes from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import TYPE_CHECKING

import numpy as np

from .captions import describe
from .layout import make_scene
from .scene import VARIETIES, choose


if TYPE_CHECKING:
    from datasets import DatasetDict


TOY_LANGUAGE = "qaa"  # the first of the codes that ISO 639-2 leaves to private use
# The English words that carry grammar rather than content.
FUNCTION_WORDS = frozenset({"a", "an", "and", "before", "is", "of", "on", "stands", "there", "with"})

# Noun and class.
_NOUNS = {
    "circle": ("belum", 0),
    "disc": ("drin", 1),
    "square": ("kavat", 1),
    "box": ("ulp", 2),
    "triangle": ("senka", 2),
    "star": ("mirro", 0),
    "cross": ("jalt", 1),
    "plus": ("evon", 0),
    "ring": ("pushi", 2),
    "hoop": ("narf", 1),
    "diamond": ("shull", 0),
    "heart": ("oriv", 1),
    "arrow": ("tesk", 2),
    "frame": ("bolp", 1),
    "hourglass": ("wimma", 2),
    "crescent": ("gand", 0),
    "moon": ("leth", 2),
    "ground": ("tolm", 2),
    "wall": ("quin", 0),
}
_CLASS_ENDINGS = ("a", "o", "i")
_OBJECT_ENDING = "en"
_ADJECTIVES = {
    "red": "dov",
    "green": "sill",
    "blue": "kumb",
    "yellow": "fent",
    "purple": "yarg",
    "white": "lish",
    "orange": "morf",
    "pink": "vell",
    "cyan": "tark",
    "brown": "hunz",
    "black": "drav",
    "lime": "zeep",
    "small": "pem",
    "large": "gorv",
    "striped": "zask",
    "checked": "trob",
    "dotted": "nimp",
    "shaded": "wulv",
    "cloudy": "hesp",
}
_RELATIONS = {"left": "hask", "right": "bint", "above": "orv", "below": "dult"}
_AND = "ke"
_PICTURES = {"picture": "gliss", "drawing": "brod"}
_PICTURE_PREPOSITIONS = {"of": "ti", "with": "zo"}
_VERBS = {"is": "yem", "stands": "rask"}
_SEVERAL_ENDING = "ut"
_GROUND_PREPOSITIONS = {"on": "uk", "before": "em"}
_GROUND_NOUNS = ("ground", "wall")
_CAPTIONS_PER_SCENE = 5

_Word = tuple[str, int]  # a target word, and the position of the source word that it translates


@dataclass(frozen=True)
class ToyTranslation:
    """
    A sentence and its translation. Words are what spaces separate; a comma belongs to the word before it.

    Args:
        source (`str`): The English caption.
        target (`str`): The same in the toy language.
        alignment (`tuple[int, ...]`):
            For every word of `target`, the position in `source.split()` of the word that it translates.
    """

    source: str
    target: str
    alignment: tuple[int, ...]


def reword(caption: str, rng: np.random.Generator) -> str:
    """
    Lets the words vary that captions only ever use together: a drawing with, there stands, before a ... wall.

    Args:
        caption (`str`): A caption that [`~hf_attention.scenes.captions.describe`] writes.
        rng (`numpy.random.Generator`): Chooses the words.

    Returns:
        `str`: One that [`translate`] takes, too.
    """
    picture, of, verb, on, ground = (
        choose(rng, words) for words in (_PICTURES, _PICTURE_PREPOSITIONS, _VERBS, _GROUND_PREPOSITIONS, _GROUND_NOUNS)
    )
    caption = re.sub("^a picture of ", f"a {picture} {of} ", caption)
    caption = re.sub("^there is ", f"there {verb} ", caption)
    return re.sub(r" on (a \w+) ground$", rf" {on} \1 {ground}", caption)


def translate(caption: str) -> ToyTranslation:
    """
    Translates a caption such as [`~hf_attention.scenes.captions.describe`] and [`reword`] write.

    Args:
        caption (`str`): The caption, in English.

    Returns:
        [`ToyTranslation`]

    Raises:
        ValueError: Where a word or its place is none that captions have.
    """
    words = caption.split()
    body = range(len(words))
    opening: list[_Word] = []
    ground: list[_Word] = []
    if len(words) > 2 and words[0] == "a" and words[1] in _PICTURES and words[2] in _PICTURE_PREPOSITIONS:
        opening, body = [(_PICTURE_PREPOSITIONS[words[2]], 2), (_PICTURES[words[1]], 1)], body[3:]
    elif len(words) > 1 and words[0] == "there" and words[1] in _VERBS:
        opening, body = [(_VERBS[words[1]], 1)], body[2:]
    if len(body) > 4 and words[-4] in _GROUND_PREPOSITIONS and words[-1] in _GROUND_NOUNS:
        phrase, _ = _noun_phrase(words, body[-3:])
        ground, body = [*phrase, (_GROUND_PREPOSITIONS[words[-4]], body[-4])], body[:-4]
    if words[:1] == ["there"] and sum(words[position].rstrip(",") in _NOUNS for position in body) > 1:
        opening = [(verb + _SEVERAL_ENDING, position) for verb, position in opening]
    target = [*ground, *_list(words, body), *opening]
    return ToyTranslation(caption, " ".join(text for text, _ in target), tuple(position for _, position in target))


def _list(words: list[str], positions: Iterable[int]) -> list[_Word]:
    """Clauses with `and` or a comma between them, which stay in their order."""
    target: list[_Word] = []
    clause: list[int] = []
    for position in positions:
        if words[position] == "and":
            target += [*_clause(words, clause), (_AND, position)]
            clause = []
            continue
        clause.append(position)
        if words[position].endswith(","):
            *before, (text, last) = _clause(words, clause)
            target += [*before, (f"{text},", last)]
            clause = []
    return target + _clause(words, clause)


def _clause(words: list[str], positions: Sequence[int]) -> list[_Word]:
    """One noun phrase, or two with a relation between them."""
    for number, position in enumerate(positions):
        if words[position] in _RELATIONS:
            length = 2 if words[position] in ("left", "right") else 1  # "left of"
            first, noun_class = _noun_phrase(words, positions[:number])
            second, _ = _noun_phrase(words, positions[number + length :], _OBJECT_ENDING)
            return [*first, *second, (_RELATIONS[words[position]] + _CLASS_ENDINGS[noun_class], position)]
    return _noun_phrase(words, positions)[0]


def _noun_phrase(words: list[str], positions: Sequence[int], case: str = "") -> tuple[list[_Word], int]:
    """The words of a noun phrase, and the class of its noun."""
    phrase = [words[position].rstrip(",") for position in positions]
    if (
        phrase[:1] not in (["a"], ["an"])
        or phrase[-1] not in _NOUNS
        or not all(word in _ADJECTIVES for word in phrase[1:-1])
    ):
        raise ValueError(
            f"`caption` must be one that `describe` may write: {' '.join(phrase)!r} in {' '.join(words)!r} is no noun "
            "phrase of such a caption."
        )
    noun, noun_class = _NOUNS[phrase[-1]]
    target = [(noun + case, positions[-1])]
    for word, position in zip(phrase[-2:0:-1], positions[-2:0:-1], strict=True):
        target.append((_ADJECTIVES[word] + _CLASS_ENDINGS[noun_class], position))
    return target, noun_class


def make_translations(
    train: int = 10000, validation: int = 500, test: int = 500, seed: int = 0, variety: int = VARIETIES[0]
) -> DatasetDict:
    """
    Makes a data set of captions and their translations.

    Args:
        train, validation, test (`int`, *optional*):
            How many sentences each split has; a split of 0 is left out. No sentence is there twice, within a split or
            in two. A smaller `train` gives the first sentences of a larger one, and leaves the others as they are.
        seed (`int`, *optional*, defaults to 0): Another seed, other sentences.
        variety (`int`, *optional*, defaults to 6): One of `VARIETIES`, of how many colours and shapes.

    Returns:
        `datasets.DatasetDict`: With the columns

        - `translation`: `{"en": ..., "qaa": ...}`;
        - `alignment` (list of `int`): see [`ToyTranslation`].

    Raises:
        ValueError: Where a number is negative, or `variety` none of these.
    """
    from datasets import Dataset, DatasetDict, Features, List, NamedSplit, Translation, Value

    features = Features({"translation": Translation(["en", TOY_LANGUAGE]), "alignment": List(Value("int32"))})
    seen: set[str] = set()
    splits = {}
    # The training sentences come last, so that their number changes nothing in the others.
    for split, size in (("test", test), ("validation", validation), ("train", train)):
        if size < 0:
            raise ValueError(f"`{split}` must be zero or above, got {size}.")
        if size:
            pairs = map(translate, islice(_new_captions(seed, split, variety, seen), size))
            rows = [
                {"translation": {"en": pair.source, TOY_LANGUAGE: pair.target}, "alignment": pair.alignment}
                for pair in pairs
            ]
            splits[split] = Dataset.from_list(rows, features=features, split=NamedSplit(split))
    return DatasetDict({split: splits[split] for split in ("train", "validation", "test") if split in splits})


def _new_captions(seed: int, split: str, variety: int, seen: set[str]) -> Iterator[str]:
    """Captions of scene after scene that are not among the `seen`, to which they are added."""
    for index in count():
        scene = make_scene(seed, split, index, variety=variety)
        rng = scene.random(4)
        for caption in describe(scene, _CAPTIONS_PER_SCENE):
            text = reword(caption.text, rng)
            if text not in seen:
                seen.add(text)
                yield text
