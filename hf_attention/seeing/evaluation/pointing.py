"""Whether attention lies in the boxes of what a model speaks of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@dataclass
class Look:
    """
    One look at a picture: where the attention lay, where it should, and what it led to.

    Args:
        picture (`int`): Number of the picture.
        weights (`torch.Tensor` of shape `(regions,)`): The attention.
        regions (`torch.Tensor` of shape `(regions, 4)`): Left, top, right and bottom of each region, in pixels.
        boxes (`Sequence[Sequence[int]]`): The same of what should be looked at.
        kind (`str`): Of the word or the question.
        subject (`Any`): What it takes to repeat the look.
    """

    picture: int
    weights: torch.Tensor
    regions: torch.Tensor
    boxes: Sequence[Sequence[int]]
    kind: str
    subject: Any


def covered(regions: torch.Tensor, boxes: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Tells which regions intersect any of the boxes, and which share of each region's area lies in them.

    Args:
        regions (`torch.Tensor` of shape `(regions, 4)`): Left, top, right and bottom.
        boxes (`Sequence[Sequence[int]]`): The same, in whole pixels.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: A mask and the shares, both of shape `(regions,)`.
    """
    left, top, right, bottom = regions.double().unbind(-1)
    width, height = (int(max(regions[:, side].max(), *(box[side] for box in boxes))) + 1 for side in (2, 3))
    inside = torch.zeros(height, width, dtype=torch.float64)
    for box in boxes:
        inside[box[1] : box[3], box[0] : box[2]] = 1
    x, y = torch.arange(width).double(), torch.arange(height).double()
    across = (torch.minimum(right[:, None], x + 1) - torch.maximum(left[:, None], x)).clamp(min=0)
    down = (torch.minimum(bottom[:, None], y + 1) - torch.maximum(top[:, None], y)).clamp(min=0)
    area = torch.einsum("ry,yx,rx->r", down, inside, across)
    return area > 1e-6, area / ((right - left) * (bottom - top)).clamp(min=1e-12)


def pointing(looks: Sequence[Look]) -> dict[str, float | None]:
    """
    Measures how often the most attended region intersects a box, and how much attention lies inside.

    Args:
        looks (`Sequence[Look]`): The looks.

    Returns:
        `dict[str, float | None]`: Both, beside those of chance; `None` where there was no look.
    """
    rows = []
    for look in looks:
        hits, shares = covered(look.regions, look.boxes)
        weights = look.weights.double()
        rows.append((hits[weights.argmax()].item(), hits.double().mean(), (weights * shares).sum(), shares.mean()))
    names = ("pointing", "pointing_by_chance", "attention_inside", "attention_inside_uniform")
    means = np.array(rows, dtype=float).mean(0).tolist() if rows else [None] * len(names)
    return {"looks": len(looks), **dict(zip(names, means, strict=True))}
