"""
What a generated picture shows: coloured shapes, each in a box, on a ground.

A [`Scene`] is structure only (which objects, where, on which ground); words are made from it by functions of their
own, such as [`~hf_attention.scenes.captions.describe`], each with its own stream of random numbers, so that a new kind
of text leaves the pictures as they are.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from .drawing import draw_ground, shape_mask


COLOURS = {
    "red": (214, 40, 40),
    "green": (40, 160, 60),
    "blue": (45, 85, 220),
    "yellow": (245, 215, 40),
    "purple": (140, 50, 170),
    "white": (245, 245, 245),
    "orange": (240, 125, 20),
    "pink": (245, 150, 195),
    "cyan": (60, 205, 220),
    "brown": (105, 60, 25),
    "black": (25, 25, 30),
    "lime": (165, 230, 60),
}
# The nouns that captions use for each shape.
SHAPES = {
    "circle": ("circle", "disc"),
    "square": ("square", "box"),
    "triangle": ("triangle",),
    "star": ("star",),
    "cross": ("cross", "plus"),
    "ring": ("ring", "hoop"),
    "diamond": ("diamond",),
    "heart": ("heart",),
    "arrow": ("arrow",),
    "frame": ("frame",),
    "hourglass": ("hourglass",),
    "crescent": ("crescent", "moon"),
}
# How many of the colours and of the shapes a scene may show: the first ones of both.
VARIETIES = (6, 12)
# The side of an object's box, as a range of fractions of the picture's side.
SIZES = {"small": (0.24, 0.27), "medium": (0.31, 0.35), "large": (0.4, 0.45)}
GROUNDS = ("striped", "checked", "dotted", "shaded", "cloudy")
# One pair for every colour and one for every shape, within the first six and within the others: training still shows
# each of them in five, or eleven, other pairs.
HELD_OUT_PAIRS = frozenset(
    zip(
        COLOURS,
        ("star", "circle", "ring", "cross", "square", "triangle")
        + ("crescent", "arrow", "heart", "hourglass", "diamond", "frame"),
        strict=True,
    )
)

Pair = tuple[str, str]
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class SceneObject:
    """
    One shape of a scene.

    Args:
        shape (`str`): One of `SHAPES`.
        colour (`str`): One of `COLOURS`.
        size (`str`): One of `SIZES`.
        box (`tuple[int, int, int, int]`):
            Left, top, right and bottom edge in pixels, right and bottom exclusive. The shape touches all four; what
            lies before it may hide a part.
    """

    shape: str
    colour: str
    size: str
    box: Box

    def __post_init__(self) -> None:
        for name, allowed in (("shape", SHAPES), ("colour", COLOURS), ("size", SIZES)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"`{name}` must be one of {', '.join(allowed)}, got {getattr(self, name)!r}.")
        left, top, right, bottom = self.box
        if not (0 <= left < right and 0 <= top < bottom):
            raise ValueError(f"`box` must be (left, top, right, bottom) with left < right, top < bottom: {self.box}.")

    @property
    def pair(self) -> Pair:
        """Colour and shape, which tell the objects of one scene apart."""
        return self.colour, self.shape

    @property
    def centre(self) -> tuple[float, float]:
        """Horizontal and vertical middle of the box, in pixels."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2


@dataclass(frozen=True)
class Scene:
    """
    What a picture shows, without a word about it.

    Args:
        objects (`tuple[SceneObject, ...]`): The objects from the back to the front, no (colour, shape) pair twice.
        ground (`str`): One of `GROUNDS`.
        image_size (`int`, *optional*, defaults to 64): Side of the square picture in pixels.
        key (`tuple[int, ...]`, *optional*, defaults to `(0,)`):
            Seeds the texture of the ground, the shades and the wording of what is said of the scene.
        variety (`int`, *optional*, defaults to 6):
            One of `VARIETIES`, how many colours and shapes there might have been.
    """

    objects: tuple[SceneObject, ...]
    ground: str
    image_size: int = 64
    key: tuple[int, ...] = (0,)
    variety: int = VARIETIES[0]

    def __post_init__(self) -> None:
        if self.ground not in GROUNDS:
            raise ValueError(f"`ground` must be one of {', '.join(GROUNDS)}, got {self.ground!r}.")
        if self.variety not in VARIETIES:
            raise ValueError(f"`variety` must be one of {', '.join(map(str, VARIETIES))}, got {self.variety!r}.")
        repeated = [pair for pair, count in Counter(thing.pair for thing in self.objects).items() if count > 1]
        if repeated:
            raise ValueError(f"`objects` must differ in colour or shape, got more than one {' '.join(repeated[0])}.")

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """All the pairs of colour and shape that there might have been."""
        return tuple(itertools.product(*(itertools.islice(names, self.variety) for names in (COLOURS, SHAPES))))

    def random(self, stream: int) -> np.random.Generator:
        """
        A generator of its own for every use.

        Args:
            stream (`int`): 0 lays the scene out, 1 draws it, 2 captions it, 3 asks about it, 4 rewords captions.
        """
        return np.random.default_rng([*self.key, stream])

    def draw(self) -> Image.Image:
        """
        Draws the scene.

        Returns:
            `PIL.Image.Image`: RGB, `image_size` pixels square; the same bytes at every call.
        """
        rng = self.random(1)
        picture = draw_ground(self.ground, self.image_size, rng)
        for thing in self.objects:
            shade = np.clip(np.array(COLOURS[thing.colour]) + rng.integers(-12, 13, size=3), 0, 255)
            edge = (shade * 0.6).astype(int)
            picture.paste(tuple(edge.tolist()), mask=shape_mask(thing.shape, thing.box, self.image_size))
            picture.paste(tuple(shade.tolist()), mask=shape_mask(thing.shape, thing.box, self.image_size, border=2))
        return picture


def choose(rng: np.random.Generator, options: Iterable[Any]) -> Any:
    """One of the options, all as likely."""
    options = list(options)
    return options[int(rng.integers(len(options)))]


def relation(first: SceneObject, second: SceneObject) -> str:
    """How `first` stands to `second`, along the axis on which their centres lie further apart."""
    across = first.centre[0] - second.centre[0]
    down = first.centre[1] - second.centre[1]
    if abs(across) >= abs(down):
        return "left of" if across < 0 else "right of"
    return "above" if down < 0 else "below"
