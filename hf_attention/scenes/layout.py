"""Scenes made at random, each from its seed, its split and its number alone."""

import itertools
from dataclasses import replace

from PIL import Image, ImageChops, ImageStat

from .drawing import shape_mask
from .scene import GROUNDS, HELD_OUT_PAIRS, SIZES, VARIETIES, Pair, Scene, SceneObject, choose


SPLITS = ("train", "validation", "test", "held_out")
_MIN_VISIBLE = 0.75
_MAX_OBJECTS = 4


def make_scene(seed: int, split: str, index: int, image_size: int = 64, variety: int = VARIETIES[0]) -> Scene:
    """
    Makes one scene, which depends on the arguments alone and not on the other scenes of its split.

    Args:
        seed (`int`): Zero or above.
        split (`str`): One of `SPLITS`. Scenes of `held_out` hold at least one of `HELD_OUT_PAIRS`, all others none.
        index (`int`): Position in the split, zero or above.
        image_size (`int`, *optional*, defaults to 64): Side of the picture in pixels, 32 at least.
        variety (`int`, *optional*, defaults to 6): One of `VARIETIES`, of how many colours and shapes.

    Returns:
        [`Scene`]: One to four objects, of each of which three quarters or more can be seen.

    Raises:
        ValueError: Where an argument is out of range.
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


def _all_apart(objects: list[SceneObject], image_size: int) -> bool:
    """Whether no two centres stand nearly above each other: it is plain then which object comes next from the left."""
    middles = sorted(thing.centre[0] for thing in objects)
    return all(right - left >= image_size / 8 for left, right in itertools.pairwise(middles))


def _all_visible(objects: list[SceneObject], image_size: int) -> bool:
    """Whether of every object enough is seen past those before it."""
    before = Image.new("L", (image_size, image_size))
    for thing in reversed(objects):
        mask = shape_mask(thing.shape, thing.box, image_size)
        seen = ImageStat.Stat(ImageChops.subtract(mask, before)).sum[0]
        if seen < _MIN_VISIBLE * ImageStat.Stat(mask).sum[0]:
            return False
        before = ImageChops.lighter(before, mask)
    return True
