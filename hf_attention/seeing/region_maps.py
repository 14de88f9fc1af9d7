"""Weights of regions as a map over the whole picture."""

import numpy as np


def spread_weights(
    attention: np.ndarray,
    grid: tuple[int, int] | None,
    regions: np.ndarray | None,
    image_size: tuple[int, int],
    longest_side: int,
) -> np.ndarray:
    """
    Lays the weights of regions over a picture.

    Args:
        attention (`np.ndarray` of shape `(regions,)`):
            A weight a region.
        grid (`tuple[int, int]`, *optional*):
            Rows and columns of the regions, which run row by row: between the middles of the regions the weights are
            interpolated, linearly, which neither overshoots the largest weight nor goes below zero. Without it the
            regions are boxes anywhere, each filled with its weight, with the largest where several lie.
        regions (`np.ndarray` of shape `(regions, 4)`, *optional*):
            Left, top, right and bottom of each region in pixels of the picture. A grid needs none: it then covers the
            whole picture. Regions of padding are empty.
        image_size (`tuple[int, int]`):
            Width and height of the picture.
        longest_side (`int`):
            Of the map, in pixels.

    Returns:
        `np.ndarray` of shape `(height, width)`: of the map; NaN where there is no region.
    """
    width, height = (max(round(longest_side * side / max(image_size)), 1) for side in image_size)
    x = (np.arange(width) + 0.5) * image_size[0] / width
    y = (np.arange(height) + 0.5) * image_size[1] / height
    if grid is None:
        spread = np.full((height, width), np.nan)
        for number in attention.argsort():
            left, top, right, bottom = regions[number]
            spread[np.ix_((y >= top) & (y < bottom), (x >= left) & (x < right))] = attention[number]
        return spread
    rows, columns = grid
    if regions is None:
        across, down = np.linspace(0, image_size[0], columns + 1), np.linspace(0, image_size[1], rows + 1)
        across, down = np.stack([across[:-1], across[1:]], 1), np.stack([down[:-1], down[1:]], 1)
    else:
        boxes = regions.reshape(rows, columns, 4)
        across, down = boxes[0][:, [0, 2]], boxes[:, 0][:, [1, 3]]
    is_column, is_row = np.ptp(across, 1) > 0, np.ptp(down, 1) > 0
    weights = attention.reshape(rows, columns)[is_row][:, is_column]
    return _interpolate(y, down[is_row]) @ weights @ _interpolate(x, across[is_column]).T


def _interpolate(positions: np.ndarray, intervals: np.ndarray) -> np.ndarray:
    """Of shape `(positions, intervals)`: the share of each interval's weight in a position's; NaN outside of all."""
    middles = intervals.mean(1)
    shares = np.stack([np.interp(positions, middles, row) for row in np.eye(len(middles))], 1)
    shares[(positions < intervals.min()) | (positions > intervals.max())] = np.nan
    return shares
