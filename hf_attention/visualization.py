"""Where a model looked, as pictures. Needs matplotlib: `pip install hf_attention[visualization]`."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from PIL import Image


# Looked at: the picture as it is. Not looked at: the picture in the dark, its objects still to be made out.
_SHADE = LinearSegmentedColormap.from_list("attention_shade", [(0.0, 0.0, 0.05, 0.75), (0.0, 0.0, 0.05, 0.0)])
_PANEL_INCHES = 1.3
_WORD_POINTS = 11.0


def plot_caption_attention(
    image: Image.Image,
    tokens: Sequence[str],
    attentions: torch.Tensor | np.ndarray,
    grid: tuple[int, int] | None = None,
    shared_scale: bool = True,
    max_columns: int = 8,
    title: str | None = None,
) -> Figure:
    """Draws the picture once for every word, lit where the model looked as it wrote the word (Xu et al. 2015, fig. 3).

    The picture is bright where the weight is largest, dark where it is zero, and linear in between; a bar tells the
    weights. Between the middles of the regions they are interpolated.

    Args:
        image (`PIL.Image.Image`):
            What was captioned.
        tokens (sequence of `str`):
            The words, drawn as they are; long ones in smaller letters.
        attentions (`torch.Tensor` or `np.ndarray` of shape `(len(tokens), regions)`):
            Weights from zero to one, such as one sequence of [`attention_maps`].
        grid (`tuple[int, int]`, *optional*):
            Rows and columns of the regions, which run row by row over the whole picture. By default as many of the one
            as of the other.
        shared_scale (`bool`, *optional*, defaults to `True`):
            One scale, up to the largest weight of all words. `False`: each panel has its own scale up to its own
            largest weight, which is written under it.
        max_columns (`int`, *optional*, defaults to 8):
            Panels in a row. The first panel is the picture alone.
        title (`str`, *optional*):
            Written above, in as many lines as it needs.

    Returns:
        `matplotlib.figure.Figure`: not known to pyplot, so it need not be closed; `figure.savefig("where.png")`.

    Raises:
        ValueError: where shapes do not fit each other, or a weight is negative or not finite.
    """
    weights = torch.as_tensor(attentions).detach().float().cpu().numpy()
    if weights.ndim != 2 or len(weights) != len(tokens) or not weights.size:
        raise ValueError(
            f"`attentions` must have shape (tokens, regions), here ({len(tokens)}, regions), got {weights.shape}."
        )
    if not np.isfinite(weights).all() or weights.min() < 0:
        raise ValueError("`attentions` must be finite and not negative.")
    if max_columns < 1:
        raise ValueError(f"`max_columns` must be at least 1, got {max_columns}.")
    maps = weights.reshape(-1, *_check_grid(grid, weights.shape[1]))
    image = image.convert("RGB")

    panels = len(tokens) + 1
    # Rows of even length rather than a last one with a panel or two.
    num_rows = math.ceil(panels / max_columns)
    num_columns = math.ceil(panels / num_rows)
    width = num_columns * _PANEL_INCHES + 0.2
    title_lines = textwrap.wrap(title or "", width=max(int(9 * width), 1))
    head, foot = 0.1 + 0.19 * len(title_lines), 0.5
    height = num_rows * (_PANEL_INCHES * image.height / image.width + (0.25 if shared_scale else 0.42)) + head + foot
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    grid_axes = figure.subplots(
        num_rows,
        num_columns,
        squeeze=False,
        gridspec_kw={
            "left": 0.1 / width,
            "right": 1 - 0.1 / width,
            "top": 1 - (head + 0.22) / height,
            "bottom": foot / height + (0 if shared_scale else 0.17 / height),
            "wspace": 0.06,
            "hspace": 0.25 if shared_scale else 0.4,
        },
    )
    if title_lines:
        figure.suptitle("\n".join(title_lines), fontsize=_WORD_POINTS, y=1 - 0.08 / height, va="top", parse_math=False)
    axes = list(grid_axes.flat)
    for unused in axes:
        unused.set_axis_off()
    axes[0].imshow(image)
    highest = float(maps.max()) or 1.0
    for ax, token, attention in zip(axes[1:], tokens, maps, strict=False):
        top = highest if shared_scale else float(attention.max()) or 1.0
        ax.imshow(image)
        ax.imshow(_enlarge(attention, image.size), cmap=_SHADE, vmin=0, vmax=top)
        ax.set_title(token, fontsize=_WORD_POINTS, pad=3, parse_math=False)
        _fit_title(figure, ax)
        if not shared_scale:
            ax.text(0.5, -0.03, f"max {attention.max():.2g}", transform=ax.transAxes, ha="center", va="top", size=8)
    _draw_scale(figure, highest if shared_scale else None)
    return figure


def _check_grid(grid: tuple[int, int] | None, regions: int) -> tuple[int, int]:
    if grid is None:
        side = math.isqrt(regions)
        if side * side != regions:
            raise ValueError(f"{regions} regions are no square grid: pass `grid=(rows, columns)`.")
        return side, side
    rows, columns = grid
    if rows < 1 or columns < 1 or rows * columns != regions:
        raise ValueError(f"`grid` must be (rows, columns) of {regions} regions, got {grid}.")
    return rows, columns


def _enlarge(attention: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Interpolates linearly, which neither overshoots the largest weight nor goes below zero."""
    return np.asarray(Image.fromarray(attention).resize(size, Image.Resampling.BILINEAR))


def _fit_title(figure: Figure, ax: Axes) -> None:
    """Makes a word that is broader than its panel smaller."""
    needed = ax.title.get_window_extent(figure.canvas.get_renderer()).width
    room = ax.get_window_extent().width
    if needed > room:
        ax.title.set_fontsize(_WORD_POINTS * room / needed)


def _draw_scale(figure: Figure, highest: float | None) -> None:
    width, height = figure.get_size_inches()
    length = min(2.4, width - 0.6)
    ax = figure.add_axes(((width - length) / 2 / width, 0.36 / height, length / width, 0.09 / height))
    bar = figure.colorbar(ScalarMappable(Normalize(0, highest or 1), _SHADE), cax=ax, orientation="horizontal")
    bar.outline.set_linewidth(0.5)
    if highest is None:
        bar.set_ticks([0, 1], labels=["0", "max"])
    else:
        bar.set_ticks([0, highest / 2, highest], labels=["0", f"{highest / 2:.2f}", f"{highest:.2f}"])
    bar.ax.tick_params(labelsize=8, length=2, pad=1)
    bar.ax.set_ylabel("weight", rotation=0, ha="right", va="center", fontsize=8)
