"""
Questions about generated scenes, with their answers and the boxes of the objects that an answer depends on.

Each question is of one kind: `colour`, `shape`, `count`, `relation` or `yes_no`. They are made of a
[`~hf_attention.scenes.scene.Scene`] alone, with a stream of random numbers of their own: pictures and captions stay as
they are.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .captions import with_article
from .scene import COLOURS, HELD_OUT_PAIRS, SHAPES, Pair, Scene, SceneObject, choose, relation


KINDS = ("colour", "shape", "count", "relation", "yes_no")
RELATIONS = ("left of", "right of", "above", "below")
# How much further apart, along one axis than along the other, two centres lie whose relation is asked for: near a
# diagonal a pixel decides, and what hides a part of an object moves its middle.
_CLEARLY = 1.5
PLURALS = {"box": "boxes", "cross": "crosses", "hourglass": "hourglasses", "plus": "pluses"}


@dataclass(frozen=True)
class SceneQuestion:
    """
    A question about a scene.

    Args:
        text (`str`): The question.
        answer (`str`): One word or number.
        kind (`str`): One of `KINDS`.
        objects (`tuple[int, ...]`):
            The objects of the scene that the answer depends on: whose colour or shape is asked for, that are counted,
            or that the question names; none where it asks for what is not there.
        absent (`tuple[str, str]`, *optional*): Colour and shape of what it asks for and is not there.
    """

    text: str
    answer: str
    kind: str
    objects: tuple[int, ...]
    absent: Pair | None = None


def _unique(scene: Scene, attribute: str) -> list[int]:
    counts = Counter(getattr(thing, attribute) for thing in scene.objects)
    return [i for i, thing in enumerate(scene.objects) if counts[getattr(thing, attribute)] == 1]


def _noun(rng: np.random.Generator, shape: str) -> str:
    return choose(rng, SHAPES[shape])


def _ask_colour(scene: Scene, rng: np.random.Generator) -> SceneQuestion | None:
    if not (candidates := _unique(scene, "shape")):
        return None
    number = choose(rng, candidates)
    thing = scene.objects[number]
    return SceneQuestion(f"what colour is the {_noun(rng, thing.shape)} ?", thing.colour, "colour", (number,))


def _ask_shape(scene: Scene, rng: np.random.Generator) -> SceneQuestion | None:
    if not (candidates := _unique(scene, "colour")):
        return None
    number = choose(rng, candidates)
    thing = scene.objects[number]
    return SceneQuestion(f"what shape is the {thing.colour} object ?", thing.shape, "shape", (number,))


def _ask_count(scene: Scene, rng: np.random.Generator) -> SceneQuestion:
    attribute = choose(rng, ("", "colour", "shape"))
    if attribute == "":
        counted, name = range(len(scene.objects)), "objects"
    else:
        # As often something that is there as something of which there may be none.
        there = [getattr(thing, attribute) for thing in scene.objects]
        possible = itertools.islice(COLOURS if attribute == "colour" else SHAPES, scene.variety)
        value = choose(rng, there if rng.random() < 0.5 else possible)
        counted = [i for i, each in enumerate(there) if each == value]
        noun = _noun(rng, value) if attribute == "shape" else ""
        name = PLURALS.get(noun, f"{noun}s") if noun else f"{value} objects"
    return SceneQuestion(f"how many {name} are there ?", str(len(counted)), "count", tuple(counted))


def _name(rng: np.random.Generator, thing: SceneObject) -> str:
    return f"the {thing.colour} {_noun(rng, thing.shape)}"


def _choose_related(scene: Scene, rng: np.random.Generator) -> tuple[int, int] | None:
    """Two objects, in either order, whose relation is plain to see."""
    candidates = []
    for pair in itertools.permutations(range(len(scene.objects)), 2):
        centres = (scene.objects[number].centre for number in pair)
        near, far = sorted(abs(a - b) for a, b in zip(*centres, strict=True))
        if far >= _CLEARLY * near:
            candidates.append(pair)
    return choose(rng, candidates) if candidates else None


def _ask_relation(scene: Scene, rng: np.random.Generator) -> SceneQuestion | None:
    if (numbers := _choose_related(scene, rng)) is None:
        return None
    first, second = (scene.objects[number] for number in numbers)
    text = f"where is {_name(rng, first)} seen from {_name(rng, second)} ?"
    return SceneQuestion(text, relation(first, second).removesuffix(" of"), "relation", numbers)


def _ask_yes_no(scene: Scene, rng: np.random.Generator) -> SceneQuestion:
    """
    Whether there is such an object, or whether one stands so to another. Both answers are drawn as often, but of a
    scene with few objects there are soon only questions left that are answered by no.
    """
    answer = choose(rng, ("yes", "no"))
    if rng.random() < 0.5 and (numbers := _choose_related(scene, rng)):
        first, second = numbers
        side = relation(scene.objects[first], scene.objects[second])
        if answer == "no":
            side = choose(rng, [other for other in RELATIONS if other != side])
        names = [_name(rng, scene.objects[number]) for number in (first, second)]
        return SceneQuestion(f"is {names[0]} {side} {names[1]} ?", answer, "yes_no", (first, second))
    if answer == "yes":
        objects, absent = (choose(rng, range(len(scene.objects))),), None
        colour, shape = scene.objects[objects[0]].pair
    else:
        # Held-out pairs are asked for where others of them are, in half of these questions, and nowhere else: training
        # would teach that they never are there.
        there = {thing.pair for thing in scene.objects}
        asks_held_out = not HELD_OUT_PAIRS.isdisjoint(there) and rng.random() < 0.5
        pairs = [pair for pair in scene.pairs if (pair in HELD_OUT_PAIRS) == asks_held_out]
        objects = ()
        absent = colour, shape = choose(rng, [pair for pair in pairs if pair not in there])
    text = f"is there {with_article(f'{colour} {_noun(rng, shape)}')} ?"
    return SceneQuestion(text, answer, "yes_no", objects, absent)


_ASK: dict[str, Callable[[Scene, np.random.Generator], SceneQuestion | None]] = {
    "colour": _ask_colour,
    "shape": _ask_shape,
    "count": _ask_count,
    "relation": _ask_relation,
    "yes_no": _ask_yes_no,
}


def ask(scene: Scene, count: int = 6, kinds: Sequence[str] = KINDS) -> list[SceneQuestion]:
    """
    Asks questions about a scene, of the kinds in turn; where a kind has none to ask, the next one does.

    Args:
        scene ([`~hf_attention.scenes.scene.Scene`]): What to ask about.
        count (`int`, *optional*, defaults to 6): How many questions, from 1 to 12, no two alike.
        kinds (`Sequence[str]`, *optional*, defaults to `KINDS`):
            The kinds, one question of each in turn. One that is named twice is asked for twice as often.

    Returns:
        `list[SceneQuestion]`: The same ones at every call.

    Raises:
        ValueError: Where the scene is empty, `count` out of range, or a kind is missing or unknown.
    """
    if not scene.objects:
        raise ValueError("`scene` must hold at least one object.")
    if not 1 <= count <= 12:
        raise ValueError(f"`count` must be from 1 to 12, got {count}.")
    if set(kinds) != set(KINDS):
        raise ValueError(f"`kinds` must name all of {', '.join(KINDS)} and no other, got {', '.join(kinds)}.")
    rng = scene.random(3)
    questions: dict[str, SceneQuestion] = {}
    turn = int(rng.integers(len(kinds)))
    while len(questions) < count:
        question = _ASK[kinds[turn % len(kinds)]](scene, rng)
        turn += 1
        if question is not None:
            questions.setdefault(question.text, question)
    return list(questions.values())
