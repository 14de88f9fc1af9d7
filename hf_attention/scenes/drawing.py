"""Generated pictures of coloured shapes, with captions and the true box of every object that a caption names.

They are what the demo and the tests learn from: nothing is downloaded, and every answer is known. A [`Scene`] is
structure only (which objects, where, on which ground); words are made from it by functions of their own, such as
[`describe`], each with its own stream of random numbers, so that a new kind of text leaves the pictures as they are.
"""

from __future__ import annotations

import io
import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageStat


if TYPE_CHECKING:
    from datasets import DatasetDict, Features


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
SPLITS = ("train", "validation", "test", "held_out")
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

SHAPE_OF_NOUN = {noun: shape for shape, nouns in SHAPES.items() for noun in nouns}
PAIR_PATTERN = re.compile(rf"\b({'|'.join(COLOURS)})\s+({'|'.join(SHAPE_OF_NOUN)})\b", re.IGNORECASE)
_OVERSAMPLING = 4
_MIN_VISIBLE = 0.75
_MAX_OBJECTS = 4

Pair = tuple[str, str]
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class SceneObject:
    """One shape of a scene.

    Args:
        shape (`str`): one of `SHAPES`.
        colour (`str`): one of `COLOURS`.
        size (`str`): one of `SIZES`.
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
    """What a picture shows, without a word about it.

    Args:
        objects (`tuple[SceneObject, ...]`): the objects from the back to the front, no (colour, shape) pair twice.
        ground (`str`): one of `GROUNDS`.
        image_size (`int`): side of the square picture in pixels.
        key (`tuple[int, ...]`): seeds the texture of the ground, the shades and, in [`describe`], the wording.
        variety (`int`): one of `VARIETIES`, how many colours and shapes there might have been.
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
        """A generator of its own for every use: 0 lays the scene out, 1 draws it, 2 captions it, 3 asks, 4 rewords."""
        return np.random.default_rng([*self.key, stream])

    def draw(self) -> Image.Image:
        """Draws the scene.

        Returns:
            `PIL.Image.Image`: RGB, `image_size` pixels square; the same bytes at every call.
        """
        rng = self.random(1)
        picture = _draw_ground(self.ground, self.image_size, rng)
        for thing in self.objects:
            shade = np.clip(np.array(COLOURS[thing.colour]) + rng.integers(-12, 13, size=3), 0, 255)
            edge = (shade * 0.6).astype(int)
            picture.paste(tuple(edge.tolist()), mask=_shape_mask(thing, self.image_size))
            picture.paste(tuple(shade.tolist()), mask=_shape_mask(thing, self.image_size, border=2))
        return picture


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


def _unit_outline(shape: str) -> list[tuple[float, float]]:
    """Corners of a shape that has some, scaled so that they touch all four sides of the unit square."""
    if shape == "square":
        return [(0, 0), (1, 0), (1, 1), (0, 1)]
    if shape == "triangle":
        return [(0.5, 0), (1, 1), (0, 1)]
    if shape == "diamond":
        return [(0.5, 0), (1, 0.5), (0.5, 1), (0, 0.5)]
    if shape == "hourglass":
        return [(0, 0), (1, 0), (0.6, 0.5), (1, 1), (0, 1), (0.4, 0.5)]
    if shape == "arrow":
        return [(0.5, 0), (1, 0.5), (0.7, 0.5), (0.7, 1), (0.3, 1), (0.3, 0.5), (0, 0.5)]
    if shape == "cross":
        near, far = 0.34, 0.66
        corner = [(near, 0), (far, 0), (far, near), (1, near), (1, far), (far, far)]
        return corner + [(1 - x, 1 - y) for x, y in corner]
    if shape == "heart":
        angles = np.linspace(0, 2 * math.pi, 40)
        heights = 13 * np.cos(angles) - 5 * np.cos(2 * angles) - 2 * np.cos(3 * angles) - np.cos(4 * angles)
        points = np.stack([16 * np.sin(angles) ** 3, -heights], 1)
    elif shape == "crescent":
        # A disc without a smaller one to its right.
        outer, inner = np.linspace(0.3, 1.7, 30) * math.pi, np.linspace(1.5, 0.5, 30) * math.pi
        points = np.concatenate([_arc(outer, 0, 1), _arc(inner, math.cos(outer[0]), math.sin(outer[0]))])
    else:
        angles = np.arange(10) * math.pi / 5
        points = np.stack([np.sin(angles), -np.cos(angles)], 1) * np.array([1, 0.42] * 5)[:, None]
    low, high = points.min(axis=0), points.max(axis=0)
    return [tuple(point) for point in ((points - low) / (high - low)).tolist()]


def _arc(angles: np.ndarray, centre: float, radius: float) -> np.ndarray:
    return np.stack([centre + radius * np.cos(angles), radius * np.sin(angles)], 1)


def _shape_mask(thing: SceneObject, image_size: int, border: int = 0) -> Image.Image:
    """How far every pixel is covered by a shape (mode L), `border` / `_OVERSAMPLING` pixels of its edge left out."""
    scale = _OVERSAMPLING
    left, top, right, bottom = thing.box
    # Pillow's coordinates name pixels, and the last one is drawn too.
    width, height = (right - left) * scale - 1, (bottom - top) * scale - 1
    fine = Image.new("L", (width + 1, height + 1))
    pen = ImageDraw.Draw(fine)
    if thing.shape in ("circle", "ring", "frame"):
        draw = pen.rectangle if thing.shape == "frame" else pen.ellipse
        draw((border, border, width - border, height - border), fill=255)
        if thing.shape != "circle":
            rim = round(width * 0.24) - border
            draw((rim, rim, width - rim, height - rim), fill=0)
    else:
        corners = [(x * width, y * height) for x, y in _unit_outline(thing.shape)]
        pen.polygon(corners, fill=255, outline=0 if border else 255, width=max(border, 1))
    mask = Image.new("L", (image_size, image_size))
    mask.paste(fine.reduce(scale), (left, top))
    return mask


def _draw_ground(kind: str, size: int, rng: np.random.Generator) -> Image.Image:
    """Two muted tones mixed by a pattern, with a fine grain over them."""
    tone = rng.uniform(70, 150) + rng.uniform(-14, 14, size=3)
    other = tone + rng.choice([-1, 1]) * rng.uniform(18, 34) + rng.uniform(-8, 8, size=3)
    rows, columns = np.mgrid[:size, :size]
    period = size * rng.uniform(0.09, 0.2)
    angle = rng.uniform(0, math.pi)
    slope = columns * math.cos(angle) + rows * math.sin(angle)
    if kind == "striped":
        mix = (slope / period % 1 < 0.5).astype(float)
    elif kind == "checked":
        mix = ((columns // period + rows // period) % 2).astype(float)
    elif kind == "dotted":
        mix = (np.hypot(columns % period - period / 2, rows % period - period / 2) < period * 0.3).astype(float)
    elif kind == "shaded":
        mix = (slope - slope.min()) / np.ptp(slope)
    else:
        coarse = Image.fromarray(rng.integers(0, 256, size=(6, 6), dtype=np.uint8))
        mix = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC)) / 255
    pixels = tone + mix[..., None] * (other - tone) + rng.normal(0, 5, size=(size, size, 1))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _all_apart(objects: list[SceneObject], image_size: int) -> bool:
    """Whether no two centres stand nearly above each other: it is plain then which object comes next from the left."""
    middles = sorted(thing.centre[0] for thing in objects)
    return all(right - left >= image_size / 8 for left, right in itertools.pairwise(middles))


def _all_visible(objects: list[SceneObject], image_size: int) -> bool:
    """Whether of every object enough is seen past those before it."""
    before = Image.new("L", (image_size, image_size))
    for thing in reversed(objects):
        mask = _shape_mask(thing, image_size)
        seen = ImageStat.Stat(ImageChops.subtract(mask, before)).sum[0]
        if seen < _MIN_VISIBLE * ImageStat.Stat(mask).sum[0]:
            return False
        before = ImageChops.lighter(before, mask)
    return True


def choose(rng: np.random.Generator, options: Iterable[Any]) -> Any:
    """One of the options, all as likely."""
    options = list(options)
    return options[int(rng.integers(len(options)))]


def make_scene(seed: int, split: str, index: int, image_size: int = 64, variety: int = VARIETIES[0]) -> Scene:
    """Makes one scene, which depends on the arguments alone and not on the other scenes of its split.

    Args:
        seed (`int`): zero or above.
        split (`str`): one of `SPLITS`. Scenes of `held_out` hold at least one of `HELD_OUT_PAIRS`, all others none.
        index (`int`): position in the split, zero or above.
        image_size (`int`, *optional*, defaults to 64): side of the picture in pixels, 32 at least.
        variety (`int`, *optional*, defaults to 6): one of `VARIETIES`, of how many colours and shapes.

    Returns:
        [`Scene`]: one to four objects, of each of which three quarters or more can be seen.
    """
    if split not in SPLITS:
        raise ValueError(f"`split` must be one of {', '.join(SPLITS)}, got {split!r}.")
    if image_size < 32:
        raise ValueError(f"`image_size` must be 32 or above for the shapes to be told apart, got {image_size}.")
    if seed < 0 or index < 0:
        raise ValueError(f"`seed` and `index` must be zero or above, got {seed} and {index}.")
    empty = Scene((), GROUNDS[0], image_size, (seed, SPLITS.index(split), index), variety)
    rng = empty.random(0)

    seen_pairs = [pair for pair in empty.pairs if pair not in HELD_OUT_PAIRS]
    held_out_pairs = sorted(HELD_OUT_PAIRS.intersection(empty.pairs))
    pairs: list[Pair] = []
    if split == "held_out":
        pairs.append(choose(rng, held_out_pairs))
        # The others come from all the pairs, so that a held-out object is not always among seen ones.
        seen_pairs += held_out_pairs
    count = int(rng.integers(1, _MAX_OBJECTS + 1))
    others = [seen_pairs[i] for i in rng.permutation(len(seen_pairs)) if seen_pairs[i] not in pairs]
    pairs += others[: count - len(pairs)]
    pairs = [pairs[i] for i in rng.permutation(count)]
    ground = choose(rng, GROUNDS)

    while True:
        objects: list[SceneObject] = []
        for colour, shape in pairs:
            size = choose(rng, SIZES)
            side = round(image_size * rng.uniform(*SIZES[size]))
            left, top = rng.integers(1, image_size - side, size=2).tolist()
            objects.append(SceneObject(shape, colour, size, (left, top, left + side, top + side)))
        if _all_apart(objects, image_size) and _all_visible(objects, image_size):
            return replace(empty, objects=tuple(objects), ground=ground)


def relation(first: SceneObject, second: SceneObject) -> str:
    """How `first` stands to `second`, along the axis on which their centres lie further apart."""
    across = first.centre[0] - second.centre[0]
    down = first.centre[1] - second.centre[1]
    if abs(across) >= abs(down):
        return "left of" if across < 0 else "right of"
    return "above" if down < 0 else "below"


def with_article(phrase: str) -> str:
    """The phrase behind *a* or *an*."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


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


def describe(scene: Scene, count: int = 5) -> list[Caption]:
    """Writes captions in English, each of which names every object of the scene once.

    Args:
        scene ([`Scene`]): what to describe.
        count (`int`, *optional*, defaults to 5): how many captions, no two alike.

    Returns:
        `list[Caption]`: the same ones at every call; a smaller `count` gives the first of them.
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


def make_scenes(
    train: int = 8000,
    validation: int = 500,
    test: int = 500,
    held_out: int = 500,
    seed: int = 0,
    image_size: int = 64,
    captions_per_scene: int = 5,
    variety: int = VARIETIES[0],
) -> DatasetDict:
    """Makes a data set of scenes.

    Args:
        train, validation, test, held_out (`int`, *optional*):
            How many scenes each split has; a split of 0 is left out. [`make_scene`] says how they differ.
        seed (`int`, *optional*, defaults to 0): another seed, other scenes.
        image_size (`int`, *optional*, defaults to 64): side of the pictures in pixels.
        captions_per_scene (`int`, *optional*, defaults to 5): from 1 to 6.
        variety (`int`, *optional*, defaults to 6): one of `VARIETIES`, of how many colours and shapes.

    Returns:
        `datasets.DatasetDict`, with the columns

        - `image`: the picture;
        - `image_id` (`str`): such as `"train-00012"`;
        - `captions` (list of `str`);
        - `mentions`: for every caption the list of `{"start", "end", "object"}` in the order of the text: from which
          character to which it names which of `objects`;
        - `objects`: a list of `{"shape", "colour", "size", "box"}` from the back to the front, see [`SceneObject`];
        - `ground` (`str`).
    """
    from datasets import Features, List, Value
    from datasets import Image as ImageFeature

    features = Features(
        {
            "image": ImageFeature(),
            "image_id": Value("string"),
            "captions": List(Value("string")),
            "mentions": List(List({"start": Value("int32"), "end": Value("int32"), "object": Value("int32")})),
            "objects": List(
                {
                    "shape": Value("string"),
                    "colour": Value("string"),
                    "size": Value("string"),
                    "box": List(Value("int32"), length=4),
                }
            ),
            "ground": Value("string"),
        }
    )
    return scene_splits(
        (train, validation, test, held_out),
        lambda scene, image_id: [_row(scene, image_id, captions_per_scene)],
        features,
        seed,
        image_size,
        variety,
    )


def scene_splits(
    counts: Sequence[int],
    rows_of: Callable[[Scene, str], list[dict[str, Any]]],
    features: Features,
    seed: int,
    image_size: int,
    variety: int,
) -> DatasetDict:
    """Makes a data set from what is told of each scene.

    Args:
        counts (`Sequence[int]`): how many scenes each of `SPLITS` has; a split of 0 is left out.
        rows_of (`Callable`): takes a scene and its name, such as `"train-00012"`, and returns its rows.
        features (`datasets.Features`): the columns.
        seed (`int`): another seed, other scenes.
        image_size (`int`): side of the pictures in pixels.
        variety (`int`): one of `VARIETIES`.

    Returns:
        `datasets.DatasetDict`

    Raises:
        ValueError: if a count is negative; it is named as the split.
    """
    from datasets import Dataset, DatasetDict

    splits = {}
    for split, count in zip(SPLITS, counts, strict=True):
        if count < 0:
            raise ValueError(f"`{split}` must be zero or above, got {count}.")
        if count:
            rows = [
                row
                for index in range(count)
                for row in rows_of(make_scene(seed, split, index, image_size, variety), f"{split}-{index:05d}")
            ]
            splits[split] = Dataset.from_list(rows, features=features)
    return DatasetDict(splits)


def to_png(picture: Image.Image) -> bytes:
    """The picture as a PNG file."""
    file = io.BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue()


def _row(scene: Scene, image_id: str, captions_per_scene: int) -> dict[str, Any]:
    captions = describe(scene, captions_per_scene)
    return {
        "image": {"bytes": to_png(scene.draw()), "path": None},
        "image_id": image_id,
        "captions": [caption.text for caption in captions],
        "mentions": [[vars(mention) for mention in caption.mentions] for caption in captions],
        "objects": [vars(thing) for thing in scene.objects],
        "ground": scene.ground,
    }


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
    """Compares the (colour, shape) pairs that a caption names with those of the scene.

    A pair named twice but present once counts as named twice and right once.

    Args:
        caption (`str`): the text, as a model wrote it.
        objects (iterable of [`SceneObject`] or of mappings): the scene's objects, or a row's `objects`.
        only (iterable of pairs, *optional*): count these pairs alone, such as `HELD_OUT_PAIRS`.
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
