"""What can be wrong with attention weights that are to be shown."""

import math

import numpy as np
import torch


def check_given(attentions: torch.Tensor | np.ndarray | None) -> torch.Tensor:
    """
    Checks that a model told its weights.

    Args:
        attentions (`torch.Tensor` or `np.ndarray`, *optional*): Weights, as a pipeline returns them.

    Returns:
        `torch.Tensor`: The same.

    Raises:
        ValueError: Where there are none.
    """
    if attentions is None:
        raise ValueError("`attentions` is None: call the model or its pipeline with `output_attentions=True`.")
    return torch.as_tensor(attentions)


def check_weights(attentions: torch.Tensor | np.ndarray, shape: tuple[int, int | None], names: str) -> np.ndarray:
    """
    Checks weights that are to be shown.

    Args:
        attentions (`torch.Tensor` or `np.ndarray`): Weights of any type, on any device.
        shape (`tuple`): Rows and columns that they must have; `None` is any number of columns.
        names (`str`): What rows and columns are, for the message.

    Returns:
        `np.ndarray` of shape `shape`: The same.

    Raises:
        ValueError: Where the shape is another, a weight is negative or not finite, or there is none.
    """
    weights = check_given(attentions).detach().float().cpu().numpy()
    fits = weights.ndim == 2 and all(size in (None, length) for size, length in zip(shape, weights.shape, strict=True))
    if not fits or not weights.size:
        expected = f"({shape[0]}, {'regions' if shape[1] is None else shape[1]})"
        raise ValueError(f"`attentions` must have shape {names}, here {expected}, got {weights.shape}.")
    if not np.isfinite(weights).all() or weights.min() < 0:
        raise ValueError("`attentions` must be finite and not negative.")
    return weights


def check_highest(highest: float | None, weights: np.ndarray) -> float:
    """
    Chooses the end of a scale.

    Args:
        highest (`float`, *optional*): The end of a scale that somebody asked for.
        weights (`np.ndarray`): What is to be shown on it.

    Returns:
        `float`: The end of the scale, above zero; by default the largest weight.

    Raises:
        ValueError: Where a weight lies above it.
    """
    largest = float(weights.max())
    if highest is not None and highest < largest:
        raise ValueError(f"`highest` must be at least the largest weight, {largest:.3g}, got {highest:.3g}.")
    return (largest if highest is None else highest) or 1.0


def check_grid(grid: tuple[int, int] | None, regions: int) -> tuple[int, int]:
    """
    Chooses the rows and columns of regions.

    Args:
        grid (`tuple[int, int]`, *optional*): Rows and columns.
        regions (`int`): How many there are.

    Returns:
        `tuple[int, int]`: The grid; by default a square one.

    Raises:
        ValueError: Where the grid has another number of regions, or they are no square.
    """
    if grid is None:
        side = math.isqrt(regions)
        if side * side != regions:
            raise ValueError(f"{regions} regions are no square grid: pass `grid=(rows, columns)`.")
        return side, side
    rows, columns = grid
    if rows < 1 or columns < 1 or rows * columns != regions:
        raise ValueError(f"`grid` must be (rows, columns) of {regions} regions, got {grid}.")
    return rows, columns
