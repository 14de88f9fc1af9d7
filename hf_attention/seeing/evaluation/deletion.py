"""What becomes of a word or an answer when the most attended regions of the picture are painted over."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image

from ...models.pictures import as_rgb
from .arguments import EvaluationArguments
from .pointing import Look


DELETED_SHARE = 0.1


def blank(image: Image.Image, regions: torch.Tensor) -> Image.Image:
    """
    Paints over some regions of a picture with its mean colour.

    Args:
        image (`PIL.Image.Image`): The picture.
        regions (`torch.Tensor` of shape `(regions, 4)`): Left, top, right and bottom in pixels.

    Returns:
        `PIL.Image.Image`: Another one, in RGB.
    """
    pixels = np.array(as_rgb(image))
    mean = pixels.reshape(-1, 3).mean(0).round().astype(np.uint8)
    for left, top, right, bottom in regions.round().int().tolist():
        pixels[top:bottom, left:right] = mean
    return Image.fromarray(pixels)


def deletion(
    looks: Sequence[Look],
    images: Sequence[Image.Image],
    has_changed: Callable[[Sequence[Look], list[Image.Image]], list[bool]],
    arguments: EvaluationArguments,
) -> dict[str, float]:
    """
    Measures how often a look leads elsewhere without the most attended regions, and without random ones.

    Args:
        looks (`Sequence[Look]`): The looks.
        images (`Sequence[PIL.Image.Image]`): The pictures they are of.
        has_changed (`Callable`): For looks and a picture for each, whether it leads to another word or answer.
        arguments (`EvaluationArguments`): Seed, batch size and number of resamples.

    Returns:
        `dict[str, float]`: Both shares, their difference and its interval; empty where there was no look.
    """
    rng = np.random.default_rng(arguments.seed)
    changed: dict[str, list[bool]] = {"most_attended": [], "random": []}
    for start in range(0, len(looks), arguments.eval_batch_size):
        batch = looks[start : start + arguments.eval_batch_size]
        for name, results in changed.items():
            pictures = []
            for look in batch:
                number = math.ceil(DELETED_SHARE * len(look.regions))
                chosen = (
                    look.weights.topk(number).indices
                    if name == "most_attended"
                    else torch.from_numpy(rng.choice(len(look.regions), number, replace=False))
                )
                pictures.append(blank(images[look.picture], look.regions[chosen]))
            results += has_changed(batch, pictures)
    if not looks:
        return {}
    pictures = np.array([look.picture for look in looks])
    difference = np.array(changed["most_attended"], float) - np.array(changed["random"], float)
    low, high = bootstrap(difference, pictures, arguments.resamples, rng)
    return {
        **{f"changed_without_{name}": float(np.mean(results)) for name, results in changed.items()},
        "difference": float(difference.mean()),
        "difference_low": low,
        "difference_high": high,
    }


def bootstrap(values: np.ndarray, groups: np.ndarray, resamples: int, rng: np.random.Generator) -> tuple[float, float]:
    """
    Finds an interval of 95 % of the mean of values, by resampling the groups that they belong to.

    Args:
        values (`np.ndarray` of shape `(values,)`): The values.
        groups (`np.ndarray` of shape `(values,)`): What each belongs to.
        resamples (`int`): How often the groups are drawn.
        rng (`numpy.random.Generator`): Draws them.

    Returns:
        `tuple[float, float]`: Its ends.
    """
    _, group = np.unique(groups, return_inverse=True)
    sums, counts = np.bincount(group, weights=values), np.bincount(group)
    drawn = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=resamples)
    low, high = np.quantile(drawn @ sums / (drawn @ counts), [0.025, 0.975])
    return float(low), float(high)
