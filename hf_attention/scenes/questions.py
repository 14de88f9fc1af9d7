"""Questions about generated scenes, with their answers and the boxes of the objects that an answer depends on.

Each question is of one kind: `colour`, `shape`, `count`, `relation` or `yes_no`. They are made of a [`Scene`] alone,
with a stream of random numbers of their own: pictures and captions stay as they are.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .drawing import (
    COLOURS,
    HELD_OUT_PAIRS,
    SHAPES,
    VARIETIES,
    Pair,
    Scene,
    SceneObject,
    choose,
    relation,
    scene_splits,
    to_png,
    with_article,
)


if TYPE_CHECKING:
    from datasets import DatasetDict


KINDS = ("colour", "shape", "count", "relation", "yes_no")
RELATIONS = ("left of", "right of", "above", "below")
# How much further apart, along one axis than along the other, two centres lie whose relation is asked for: near a
# diagonal a pixel decides, and what hides a part of an object moves its middle.
_CLEARLY = 1.5
PLURALS = {"box": "boxes", "cross": "crosses", "hourglass": "hourglasses", "plus": "pluses"}


@dataclass(frozen=True)
class SceneQuestion:
    """A question about a scene.

    Args:
        text (`str`): the question.
        answer (`str`): one word or number.
        kind (`str`): one of `KINDS`.
        objects (`tuple[int, ...]`):
            The objects of the scene that the answer depends on: whose colour or shape is asked for, that are counted,
            or that the question names; none where it asks for what is not there.
        absent (`tuple[str, str]`, *optional*): colour and shape of what it asks for and is not there.
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
    """Asks questions about a scene, of the kinds in turn; where a kind has none to ask, the next one does.

    Args:
        scene ([`Scene`]): what to ask about.
        count (`int`, *optional*, defaults to 6): how many questions, from 1 to 12, no two alike.
        kinds (`Sequence[str]`, *optional*, defaults to `KINDS`):
            The kinds, one question of each in turn. One that is named twice is asked for twice as often.

    Returns:
        `list[SceneQuestion]`: the same ones at every call.
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


def make_scene_questions(
    train: int = 8000,
    validation: int = 500,
    test: int = 500,
    held_out: int = 500,
    seed: int = 0,
    image_size: int = 64,
    questions_per_scene: int = 6,
    variety: int = VARIETIES[-1],
    kinds: Sequence[str] = KINDS,
) -> DatasetDict:
    """Makes a data set of questions about scenes, the scenes of [`make_scenes`] of that variety.

    Args:
        train, validation, test, held_out (`int`, *optional*):
            How many scenes each split has; a split of 0 is left out. [`make_scene`] says how they differ.
        seed (`int`, *optional*, defaults to 0): another seed, other scenes.
        image_size (`int`, *optional*, defaults to 64): side of the pictures in pixels.
        questions_per_scene (`int`, *optional*, defaults to 6): from 1 to 12.
        variety (`int`, *optional*, defaults to 12): one of `VARIETIES`, of how many colours and shapes.
        kinds (`Sequence[str]`, *optional*, defaults to `KINDS`): the kinds of the questions, see [`ask`].

    Returns:
        `datasets.DatasetDict`, with a row for each question and the columns

        - `image`: the picture; questions about one scene name one file;
        - `image_id` (`str`): such as `"train-00012"`;
        - `question`, `answer` (`str`);
        - `kind` (`str`): one of `KINDS`;
        - `boxes`: of the objects that the answer depends on, in pixels, see [`SceneObject`];
        - `held_out` (`bool`): whether one of these, or what is asked for in vain, is of a colour and shape that
          training never shows together.
    """
    from datasets import Features, List, Value
    from datasets import Image as ImageFeature

    features = Features(
        {
            "image": ImageFeature(),
            "image_id": Value("string"),
            "question": Value("string"),
            "answer": Value("string"),
            "kind": Value("string"),
            "boxes": List(List(Value("int32"), length=4)),
            "held_out": Value("bool"),
        }
    )
    return scene_splits(
        (train, validation, test, held_out),
        lambda scene, image_id: _rows(scene, image_id, questions_per_scene, kinds),
        features,
        seed,
        image_size,
        variety,
    )


def _rows(scene: Scene, image_id: str, count: int, kinds: Sequence[str]) -> list[dict[str, Any]]:
    image = {"bytes": to_png(scene.draw()), "path": f"{image_id}.png"}
    return [
        {
            "image": image,
            "image_id": image_id,
            "question": question.text,
            "answer": question.answer,
            "kind": question.kind,
            "boxes": [list(scene.objects[number].box) for number in question.objects],
            "held_out": not HELD_OUT_PAIRS.isdisjoint(
                [question.absent, *(scene.objects[number].pair for number in question.objects)]
            ),
        }
        for question in ask(scene, count, kinds)
    ]
