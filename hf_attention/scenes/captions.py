"""Captions of scenes, which say which of their words name which object."""

from dataclasses import dataclass

import numpy as np

from .scene import SHAPES, Scene, choose, relation


@dataclass(frozen=True)
class Mention:
    """Where a caption names an object: `caption.text[start:end]` is the noun phrase of `scene.objects[object]`."""

    start: int
    end: int
    object: int


@dataclass(frozen=True)
class Caption:
    """A caption and its mentions, in the order of the text."""

    text: str
    mentions: tuple[Mention, ...]


def describe(scene: Scene, count: int = 5) -> list[Caption]:
    """
    Writes captions in English, each of which names every object of the scene once.

    Args:
        scene ([`~hf_attention.scenes.scene.Scene`]): What to describe.
        count (`int`, *optional*, defaults to 5): How many captions, from 1 to 6, no two alike.

    Returns:
        `list[Caption]`: The same ones at every call; a smaller `count` gives the first of them.

    Raises:
        ValueError: Where the scene is empty, or `count` out of range.
    """
    if not scene.objects:
        raise ValueError("`scene` must hold at least one object.")
    if not 1 <= count <= 6:  # a lone medium star has no more
        raise ValueError(f"`count` must be from 1 to 6, got {count}.")
    rng = scene.random(2)
    captions: dict[str, Caption] = {}
    while len(captions) < count:
        caption = _write(scene, rng)
        captions.setdefault(caption.text, caption)
    return list(captions.values())


def _write(scene: Scene, rng: np.random.Generator) -> Caption:
    """One caption that names every object once, from left to right: as a list, or in pairs with a relation."""
    order = sorted(range(len(scene.objects)), key=lambda i: scene.objects[i].centre)
    pieces: list[str | int] = [choose(rng, ("", "", "there is ", "a picture of "))]
    if rng.random() < 0.5:
        for position, index in enumerate(order):
            pieces += ["" if position == 0 else " and " if position == len(order) - 1 else ", ", index]
    else:
        # A pair may be turned round, and its relation with it.
        groups = [order[i : i + 2] for i in range(0, len(order), 2)]
        for position, group in enumerate(groups):
            pieces.append("" if position == 0 else " and ")
            if rng.random() < 0.3:
                group = group[::-1]
            pieces.append(group[0])
            if len(group) == 2:
                pieces += [f" {relation(*(scene.objects[i] for i in group))} ", group[1]]
    if rng.random() < 0.25:
        pieces.append(f" on a {scene.ground} ground")

    with_sizes = rng.random() < 0.6
    text, mentions = "", []
    for piece in pieces:
        if isinstance(piece, str):
            text += piece
            continue
        thing = scene.objects[piece]
        size = f"{thing.size} " if with_sizes and thing.size != "medium" else ""
        phrase = with_article(f"{size}{thing.colour} {choose(rng, SHAPES[thing.shape])}")
        mentions.append(Mention(len(text), len(text) + len(phrase), piece))
        text += phrase
    return Caption(text, tuple(mentions))


def with_article(phrase: str) -> str:
    """The phrase behind *a* or *an*."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"
