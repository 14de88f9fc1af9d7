"""
Where a model looked, as pictures. Needs matplotlib: `pip install "hf_attention[visualization]"`.

Every function returns the `matplotlib.figure.Figure`, which pyplot does not know, so that it need not be closed;
`figure.savefig("where.png")` and `figure.savefig("where.svg")` save it. With `ax` the picture takes the place of
these axes, shrunk where it is larger. Words are drawn as they are; right-to-left scripts run as they are read. Letters
that the font of `rcParams` lacks are taken from the first of `FALLBACK_FONTS` that is installed and has them; where
none has them a warning names them, and boxes stand in their place.
"""

from __future__ import annotations

import functools
import math
import textwrap
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from ..extras import missing_modules, require_extra
from ..models.pictures import as_rgb
from .region_maps import spread_weights


if TYPE_CHECKING or not missing_modules("visualization"):
    from matplotlib import font_manager, rc_context, rcParams
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    # Looked at: the picture as it is. Not looked at: the picture in the dark, its objects still to be made out.
    _SHADE = LinearSegmentedColormap.from_list(
        "attention_shade", [(0.0, 0.0, 0.05, 0.75), (0.0, 0.0, 0.05, 0.0)]
    ).with_extremes(bad=(0.75, 0.75, 0.75, 0.9))
    _INK = LinearSegmentedColormap.from_list("attention_ink", ["#ffffff", "#9ecae1", "#2171b5", "#08306b"])


# Korean, Japanese and Chinese, Arabic, Hebrew, Indian scripts: what the systems of the world bring along.
FALLBACK_FONTS = (
    "DejaVu Sans",
    "Noto Sans",
    "Noto Sans CJK KR",
    "Noto Sans KR",
    "NanumGothic",
    "NanumBarunGothic",
    "Malgun Gothic",
    "Apple SD Gothic Neo",
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Noto Sans Arabic",
    "Noto Naskh Arabic",
    "Noto Sans Hebrew",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Arial Unicode MS",
)

_PANEL_INCHES = 1.3
_CELL_INCHES = 0.27
_WORD_POINTS = 11.0
_SMALLEST_POINTS = 4.0
_LONGEST_INCHES = 200.0
_MAP_PIXELS = 256


def _with_fonts(plot: Callable[..., Figure]) -> Callable[..., Figure]:
    @functools.wraps(plot)
    def with_fonts(*args, **kwargs) -> Figure:
        require_extra("visualization")
        installed = set(font_manager.get_font_names())
        with rc_context({"font.family": [*rcParams["font.family"], *(f for f in FALLBACK_FONTS if f in installed)]}):
            return plot(*args, **kwargs)

    return with_fonts


@_with_fonts
def plot_caption_attention(
    image: Image.Image,
    tokens: Sequence[str],
    attentions: torch.Tensor | np.ndarray,
    grid: tuple[int, int] | None = None,
    regions: torch.Tensor | np.ndarray | None = None,
    shared_scale: bool = True,
    highest: float | None = None,
    max_columns: int = 8,
    title: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draws the picture once for every word, lit where the model looked as it wrote the word (Xu et al. 2015, fig. 3).

    The picture is bright where the weight is largest, dark where it is zero, and linear in between; a bar tells the
    weights. Between the middles of the regions of a grid they are interpolated. A veil of grey lies over what the
    model did not see, cropped away by its image processor. A picture more than four times as wide as high, or as high
    as wide, is drawn as if it were four times.

    Args:
        image (`PIL.Image.Image`):
            What was captioned.
        tokens (sequence of `str`):
            The words, drawn as they are; long ones in smaller letters.
        attentions (`torch.Tensor` or `np.ndarray` of shape `(len(tokens), regions)`):
            Weights from zero to one, such as one sequence of [`attention_maps`].
        grid (`tuple[int, int]`, *optional*):
            Rows and columns of the regions, which run row by row. By default as many of the one as of the other.
        regions (`torch.Tensor` or `np.ndarray` of shape `(regions, 4)`, *optional*):
            Left, top, right and bottom of each region in pixels of `image`, as a pipeline returns them. By default a
            grid over the whole picture. Without `grid` they are boxes anywhere: each is filled with its weight, the
            largest where several lie, and the one with the largest weight is framed.
        shared_scale (`bool`, *optional*, defaults to `True`):
            One scale, up to the largest weight of all words. `False`: each panel has its own scale up to its own
            largest weight, which is written under it.
        highest (`float`, *optional*):
            End of the shared scale, to compare with another picture; at least the largest weight.
        max_columns (`int`, *optional*, defaults to 8):
            Panels in a row. The first panel is the picture alone.
        title (`str`, *optional*):
            Written above, in as many lines as it needs.
        ax (`matplotlib.axes.Axes`, *optional*):
            In whose place to draw; they are removed.

    Returns:
        `matplotlib.figure.Figure`

    Raises:
        ValueError: where shapes do not fit each other, a weight is negative or not finite, or the words do not fit.
    """
    if max_columns < 1:
        raise ValueError(f"`max_columns` must be at least 1, got {max_columns}.")
    weights = _check_weights(attentions, (len(tokens), None), "(tokens, regions)")
    if regions is None:
        grid = _check_grid(grid, weights.shape[1])
    else:
        regions = torch.as_tensor(regions).detach().float().cpu().numpy()
        if regions.shape != (weights.shape[1], 4):
            raise ValueError(f"`regions` must have shape ({weights.shape[1]}, 4), got {regions.shape}.")
        grid = None if grid is None else _check_grid(grid, weights.shape[1])
    highest = _check_highest(highest, weights)
    _warn_of_missing_letters([*tokens, title or ""])

    image = as_rgb(image)
    image_size = image.size
    image.thumbnail((2 * _MAP_PIXELS, 2 * _MAP_PIXELS))
    panel_height = _PANEL_INCHES * min(max(image_size[1] / image_size[0], 0.25), 4)
    panels = len(tokens) + 1
    # Rows of even length rather than a last one with a panel or two.
    num_rows = math.ceil(panels / max_columns)
    num_columns = math.ceil(panels / num_rows)
    width = num_columns * _PANEL_INCHES + (num_columns - 1) * 0.08 + 0.2
    title_lines = textwrap.wrap(title or "", width=max(int(9 * width), 1))
    head, foot = 0.1 + 0.19 * len(title_lines), 0.5
    row_height = panel_height + (0.29 if shared_scale else 0.44)
    sheet = _Sheet(ax, width, head + num_rows * row_height + foot)
    sheet.write_title(title_lines)
    for number in range(panels):
        row, column = divmod(number, num_columns)
        panel = sheet.axes(
            0.1 + column * (_PANEL_INCHES + 0.08), head + row * row_height + 0.25, _PANEL_INCHES, panel_height
        )
        panel.set_axis_off()
        extent = (0, image_size[0], image_size[1], 0)
        panel.imshow(image, extent=extent, aspect="auto")
        if number == 0:
            continue
        attention = weights[number - 1]
        top = highest if shared_scale else float(attention.max()) or 1.0
        shade = spread_weights(attention, grid, regions, image_size, _MAP_PIXELS)
        panel.imshow(shade, cmap=_SHADE, vmin=0, vmax=top, extent=extent, aspect="auto", interpolation="bilinear")
        if grid is None:
            left, above, right, below = regions[attention.argmax()]
            panel.add_patch(Rectangle((left, above), right - left, below - above, fill=False, ec="white", lw=1))
        points = _points_to_fit(tokens[number - 1], _PANEL_INCHES) * sheet.scale
        panel.set_title(tokens[number - 1], fontsize=points, pad=3 * sheet.scale, parse_math=False)
        if not shared_scale:
            label = f"max {attention.max():.2g}"
            panel.text(0.5, -0.03, label, transform=panel.transAxes, ha="center", va="top", size=8 * sheet.scale)
    _draw_scale(sheet, _SHADE, highest if shared_scale else None)
    return sheet.figure


def plot_glimpses(
    image: Image.Image,
    question: str,
    answer: str,
    attentions: torch.Tensor | np.ndarray,
    **options: Any,
) -> Figure:
    """Draws where a question made the model look: the picture once for every glimpse (Yang et al. 2016, fig. 1).

    Args:
        image (`PIL.Image.Image`): What was asked about.
        question, answer (`str`): Written above.
        attentions (`torch.Tensor` or `np.ndarray` of shape `(glimpses, regions)`): Weights from zero to one.
        options: `grid`, `regions`, `shared_scale`, `highest`, `max_columns` and `ax` of [`plot_caption_attention`].

    Returns:
        `matplotlib.figure.Figure`
    """
    return plot_caption_attention(
        image,
        _glimpse_names(attentions),
        attentions,
        title=f"{question} \N{RIGHTWARDS ARROW} {answer}",
        **options,
    )


@_with_fonts
def plot_alignment(
    source_tokens: Sequence[str],
    tokens: Sequence[str],
    attentions: torch.Tensor | np.ndarray,
    highest: float | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draws the source words that each target word looked at (Bahdanau et al. 2015, fig. 3).

    A row a target word, a column a source word: white where the weight is zero, the darker the larger, and a bar
    tells the weights.

    Args:
        source_tokens (sequence of `str`):
            The words of the source, in their order from left to right.
        tokens (sequence of `str`):
            The words that the model wrote, from top to bottom.
        attentions (`torch.Tensor` or `np.ndarray` of shape `(len(tokens), len(source_tokens))`):
            Weights from zero to one. [`merge_words`] makes words of sub-words.
        highest (`float`, *optional*):
            End of the scale, to compare with another picture; at least the largest weight, which is the default.
        title (`str`, *optional*):
            Written above, in as many lines as it needs.
        ax (`matplotlib.axes.Axes`, *optional*):
            In whose place to draw; they are removed.

    Returns:
        `matplotlib.figure.Figure`

    Raises:
        ValueError: where shapes do not fit each other, a weight is negative or not finite, or the words do not fit.
    """
    weights = _check_weights(attentions, (len(tokens), len(source_tokens)), "(tokens, source tokens)")
    highest = _check_highest(highest, weights)
    _warn_of_missing_letters([*source_tokens, *tokens, title or ""])
    rows, columns = weights.shape
    matrix_width, matrix_height = columns * _CELL_INCHES, rows * _CELL_INCHES
    beside = max(_inches(word) for word in tokens) + 0.2
    above = max(_inches(word) for word in source_tokens) + 0.2
    width = max(beside + matrix_width + 0.1, 2.0)
    title_lines = textwrap.wrap(title or "", width=max(int(9 * width), 1))
    head, foot = 0.1 + 0.19 * len(title_lines), 0.55
    sheet = _Sheet(ax, width, head + above + matrix_height + foot)
    sheet.write_title(title_lines)
    axes = sheet.axes(beside, head + above, matrix_width, matrix_height)
    axes.imshow(weights, cmap=_INK, vmin=0, vmax=highest, aspect="auto", interpolation="nearest")
    points = _WORD_POINTS * sheet.scale
    axes.xaxis.tick_top()
    axes.set_xticks(range(columns), source_tokens, rotation=90, fontsize=points, parse_math=False)
    axes.set_yticks(range(rows), tokens, fontsize=points, parse_math=False)
    axes.set_xticks(np.arange(columns + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(rows + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="0.88", linewidth=0.5)
    axes.tick_params(which="both", length=0, pad=4 * sheet.scale)
    axes.spines[:].set(linewidth=0.5, color="0.5")
    _draw_scale(sheet, _INK, highest)
    return sheet.figure


@_with_fonts
def plot_comparison(
    answers: Mapping[str, Mapping[str, Any]],
    image: Image.Image | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draws where two or more models looked, on one scale: of an image one below the other, of a text side by side.

    Args:
        answers (`Mapping[str, Mapping]`):
            What each model's pipeline answered with `output_attentions=True`, by the name that is written above.
        image (`PIL.Image.Image`, *optional*):
            What they captioned or were asked about. Without it the answers must have `source_tokens`.
        title (`str`, *optional*):
            Written above all.
        ax (`matplotlib.axes.Axes`, *optional*):
            In whose place to draw; they are removed.

    Returns:
        `matplotlib.figure.Figure`

    Raises:
        ValueError: where there are fewer than two answers, or they hold no attention weights.
    """
    if len(answers) < 2:
        raise ValueError(f"`answers` must hold two or more models' answers, got {len(answers)}.")
    needed = {"attentions"} | ({"tokens", "source_tokens"} if image is None else set())
    for name, answer in answers.items():
        if not needed <= set(answer):
            raise ValueError(
                f"The answer of {name!r} has {sorted(answer)}, but {sorted(needed)} are needed: call the pipeline "
                f"with `output_attentions=True`{'' if image is not None else ', or pass the `image`'}."
            )
        if image is not None and not {"tokens", "answer"} & set(answer):
            raise ValueError(f"The answer of {name!r} has {sorted(answer)}, but neither 'tokens' nor an 'answer'.")
    highest = max(_check_given(answer["attentions"]).max().item() for answer in answers.values())

    def draw(name: str, answer: Mapping[str, Any], ax: Axes | None) -> Figure:
        if image is None:
            return plot_alignment(
                answer["source_tokens"], answer["tokens"], answer["attentions"], highest=highest, title=name, ax=ax
            )
        places = {key: answer[key] for key in ("grid", "regions") if key in answer}
        if "tokens" not in answer:  # of known answers the model writes no word, but looks in glimpses
            name = f"{name} \N{RIGHTWARDS ARROW} {answer['answer']}"
        tokens = answer.get("tokens") or _glimpse_names(answer["attentions"])
        return plot_caption_attention(
            image, tokens, answer["attentions"], highest=highest, title=name, ax=ax, **places
        )

    # Each is drawn alone first, to see how large it is.
    sizes = np.array([draw(name, answer, None).get_size_inches() for name, answer in answers.items()])
    along, across = (1, 0) if image is not None else (0, 1)
    size = np.zeros(2)
    size[along], size[across] = sizes[:, along].sum(), sizes[:, across].max()
    lines = textwrap.wrap(title or "", width=max(int(9 * size[0]), 1))
    head = 0.2 + 0.19 * len(lines) if lines else 0.0
    sheet = _Sheet(ax, size[0], size[1] + head)
    sheet.write_title(lines)
    place = 0.0
    for own, (name, answer) in zip(sizes, answers.items(), strict=True):
        left, top = (0.0, head + place) if along else (place, head)
        draw(name, answer, sheet.axes(left, top, *((size[0], own[1]) if along else (own[0], size[1]))))
        place += own[along]
    return sheet.figure


def _glimpse_names(attentions: torch.Tensor | np.ndarray) -> list[str]:
    count = len(_check_given(attentions))
    return ["glimpse"] if count == 1 else [f"glimpse {number + 1}" for number in range(count)]


class _Sheet:
    """Paper of a size in inches: a figure of its own, or the place of `ax`, where it shrinks to what is there."""

    def __init__(self, ax: Axes | None, width: float, height: float):
        self.width, self.height = width, height
        if ax is None:
            if max(width, height) > _LONGEST_INCHES:
                raise ValueError(
                    f"A picture of {width:.0f}x{height:.0f} inches is more than can be drawn: pass fewer words."
                )
            self.figure = Figure(figsize=(width, height))
            FigureCanvasAgg(self.figure)
            self.is_own, self.scale, self.left, self.top = True, 1.0, 0.0, 1.0
            self.inch = np.array([1 / width, 1 / height])
            return
        self.is_own, self.figure = False, ax.figure
        self.inch = self.figure.dpi / np.array([self.figure.bbox.width, self.figure.bbox.height])
        place = ax.get_position()
        room = np.array([place.width, place.height]) / self.inch
        self.scale = min(1.0, *(room / (width, height) + 1e-6))
        if self.scale * _WORD_POINTS < _SMALLEST_POINTS:
            raise ValueError(
                f"The words do not fit: the picture needs {width:.1f}x{height:.1f} inches, and `ax` has "
                f"{room[0]:.1f}x{room[1]:.1f}. Take a larger figure, or fewer words."
            )
        self.inch *= self.scale
        self.left, self.top = place.x0 + (place.width - width * self.inch[0]) / 2, place.y1
        ax.remove()

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes that lie so many inches from the left and from the top."""
        x, y = self.inch
        return self.figure.add_axes((self.left + left * x, self.top - (top + height) * y, width * x, height * y))

    def write_title(self, lines: Sequence[str]) -> None:
        """Writes lines in the middle, above all."""
        if not lines:
            return
        x, y = self.left + self.width / 2 * self.inch[0], self.top - 0.08 * self.inch[1]
        style = {"fontsize": _WORD_POINTS * self.scale, "ha": "center", "va": "top", "parse_math": False}
        if self.is_own:
            self.figure.suptitle("\n".join(lines), x=x, y=y, **style)
        else:
            self.figure.text(x, y, "\n".join(lines), **style)


def _check_given(attentions: torch.Tensor | np.ndarray | None) -> torch.Tensor:
    if attentions is None:
        raise ValueError("`attentions` is None: call the model or its pipeline with `output_attentions=True`.")
    return torch.as_tensor(attentions)


def _check_weights(attentions: torch.Tensor | np.ndarray, shape: tuple[int, int | None], names: str) -> np.ndarray:
    weights = _check_given(attentions).detach().float().cpu().numpy()
    fits = weights.ndim == 2 and all(size in (None, length) for size, length in zip(shape, weights.shape, strict=True))
    if not fits or not weights.size:
        expected = f"({shape[0]}, {'regions' if shape[1] is None else shape[1]})"
        raise ValueError(f"`attentions` must have shape {names}, here {expected}, got {weights.shape}.")
    if not np.isfinite(weights).all() or weights.min() < 0:
        raise ValueError("`attentions` must be finite and not negative.")
    return weights


def _check_highest(highest: float | None, weights: np.ndarray) -> float:
    largest = float(weights.max())
    if highest is not None and highest < largest:
        raise ValueError(f"`highest` must be at least the largest weight, {largest:.3g}, got {highest:.3g}.")
    return (largest if highest is None else highest) or 1.0


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


@functools.lru_cache(maxsize=4096)
def _inches(word: str) -> float:
    """How long a word is in the letters of the pictures."""
    figure = Figure(dpi=100)
    canvas = FigureCanvasAgg(figure)
    text = figure.text(0, 0, word, fontsize=_WORD_POINTS, parse_math=False)
    return text.get_window_extent(canvas.get_renderer()).width / 100


def _points_to_fit(word: str, inches: float) -> float:
    """Makes a word that is longer than its place smaller."""
    return _WORD_POINTS * min(1.0, inches / max(_inches(word), 1e-6))


@functools.lru_cache(maxsize=32)
def _letters_of(family: str) -> frozenset[int]:
    path = font_manager.findfont(font_manager.FontProperties(family=[family]))
    return frozenset(font_manager.get_font(path).get_charmap())


def _warn_of_missing_letters(words: Iterable[str]) -> None:
    missing = {ord(letter) for word in words for letter in word if letter.isprintable() and not letter.isspace()}
    for family in rcParams["font.family"]:
        if missing:
            missing -= _letters_of(family)
    if missing:
        letters = " ".join(map(chr, sorted(missing)[:20]))
        warnings.warn(
            f"No installed font has the letters {letters}: boxes stand in their place. Install one that has them, "
            "such as Noto Sans CJK KR, or name one in matplotlib's `font.family`.",
            stacklevel=4,
        )


def _draw_scale(sheet: _Sheet, colours: Colormap, highest: float | None) -> None:
    length = min(2.4, sheet.width - 0.9)
    ax = sheet.axes((sheet.width - length) / 2 + 0.1, sheet.height - 0.36, length, 0.09)
    bar = sheet.figure.colorbar(ScalarMappable(Normalize(0, highest or 1), colours), cax=ax, orientation="horizontal")
    bar.outline.set_linewidth(0.5)
    if highest is None:
        bar.set_ticks([0, 1], labels=["0", "max"])
    else:
        bar.set_ticks([0, highest / 2, highest], labels=["0", f"{highest / 2:.2g}", f"{highest:.2g}"])
    points = 8 * sheet.scale
    ax.tick_params(labelsize=points, length=2 * sheet.scale, pad=sheet.scale)
    ax.set_ylabel("weight", rotation=0, ha="right", va="center", fontsize=points)
