"""
Where a model looked, as pictures. Needs matplotlib: `pip install "hf_attention[visualization]"`.

Every function returns the `matplotlib.figure.Figure`, which pyplot does not know, so that it need not be closed;
`figure.savefig("where.png")` and `figure.savefig("where.svg")` save it. With `ax` the picture takes the place of
these axes, shrunk where it is larger. Words are drawn as they are; right-to-left scripts run as they are read. Letters
that the font of `rcParams` lacks are taken from the first of [`~hf_attention.seeing.fonts.FALLBACK_FONTS`]
that has them, else from any installed font; where none has them boxes stand in their place, and one warning
([`~hf_attention.seeing.fonts.MissingLettersWarning`]) says which font to install.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from ..extras import missing_modules
from ..models.pictures import as_rgb
from .checks import check_given, check_grid, check_highest, check_weights
from .fonts import WORD_POINTS, boxes_for_missing_letters, inches_of, points_to_fit, with_fonts
from .overlay import in_grey, overlay, scale_colours
from .region_maps import spread_weights
from .sheet import Sheet, wrap_title


if TYPE_CHECKING or not missing_modules("visualization"):
    from matplotlib.axes import Axes
    from matplotlib.colors import LinearSegmentedColormap, ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    _OVERLAY = ListedColormap(overlay(np.linspace(0, 1, 256))).with_extremes(bad=overlay(np.array(np.nan)))
    _SCALE = ListedColormap(scale_colours(256))
    _INK = LinearSegmentedColormap.from_list("attention_ink", ["#ffffff", "#9ecae1", "#2171b5", "#08306b"])


_PANEL_INCHES = 1.3
_CELL_INCHES = 0.27
_MAP_PIXELS = 256


@with_fonts
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
    """
    Draws the picture once for every word, coloured where the model looked as it wrote it (Xu et al. 2015, fig. 3).

    The picture is nearly in grey, and over it lies the attention, from violet to yellow where the weight is largest; a
    bar tells the weights. Between the middles of the regions of a grid they are interpolated. What the model did not
    see, cropped away by its image processor, is nearly white. A picture more than four times as wide as high, or as
    high as wide, is drawn as if it were four times.

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
        `matplotlib.figure.Figure`: The picture.

    Raises:
        ValueError: Where shapes do not fit each other, a weight is negative or not finite, or the words do not fit.
    """
    if max_columns < 1:
        raise ValueError(f"`max_columns` must be at least 1, got {max_columns}.")
    weights = check_weights(attentions, (len(tokens), None), "(tokens, regions)")
    if regions is None:
        grid = check_grid(grid, weights.shape[1])
    else:
        regions = torch.as_tensor(regions).detach().float().cpu().numpy()
        if regions.shape != (weights.shape[1], 4):
            raise ValueError(f"`regions` must have shape ({weights.shape[1]}, 4), got {regions.shape}.")
        grid = None if grid is None else check_grid(grid, weights.shape[1])
    highest = check_highest(highest, weights)
    boxes = boxes_for_missing_letters([*tokens, title or ""])
    tokens = [token.translate(boxes) for token in tokens]

    image = as_rgb(image)
    image_size = image.size
    image.thumbnail((2 * _MAP_PIXELS, 2 * _MAP_PIXELS))
    grey_image = in_grey(image)
    panel_height = _PANEL_INCHES * min(max(image_size[1] / image_size[0], 0.25), 4)
    panels = len(tokens) + 1
    # Rows of even length rather than a last one with a panel or two.
    num_rows = math.ceil(panels / max_columns)
    num_columns = math.ceil(panels / num_rows)
    width = num_columns * _PANEL_INCHES + (num_columns - 1) * 0.08 + 0.2
    title_lines, head = wrap_title((title or "").translate(boxes), width)
    foot = 0.5
    row_height = panel_height + (0.29 if shared_scale else 0.44)
    sheet = Sheet(ax, width, head + num_rows * row_height + foot)
    sheet.write_title(title_lines)
    for number in range(panels):
        row, column = divmod(number, num_columns)
        panel = sheet.axes(
            0.1 + column * (_PANEL_INCHES + 0.08), head + row * row_height + 0.25, _PANEL_INCHES, panel_height
        )
        panel.set_axis_off()
        extent = (0, image_size[0], image_size[1], 0)
        if number == 0:
            panel.imshow(image, extent=extent, aspect="auto")
            continue
        panel.imshow(grey_image, extent=extent, aspect="auto")
        attention = weights[number - 1]
        top = highest if shared_scale else float(attention.max()) or 1.0
        spread = spread_weights(attention, grid, regions, image_size, _MAP_PIXELS)
        panel.imshow(spread, cmap=_OVERLAY, vmin=0, vmax=top, extent=extent, aspect="auto", interpolation="bilinear")
        if grid is None:
            left, above, right, below = regions[attention.argmax()]
            frame = Rectangle((left, above), right - left, below - above, fill=False, ec="black", lw=1)
            frame.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
            panel.add_patch(frame)
        points = points_to_fit(tokens[number - 1], _PANEL_INCHES) * sheet.scale
        panel.set_title(tokens[number - 1], fontsize=points, pad=3 * sheet.scale, parse_math=False)
        if not shared_scale:
            label = f"max {attention.max():.2g}"
            panel.text(0.5, -0.03, label, transform=panel.transAxes, ha="center", va="top", size=8 * sheet.scale)
    sheet.draw_scale(_SCALE, highest if shared_scale else None)
    return sheet.figure


def plot_glimpses(
    image: Image.Image,
    question: str,
    answer: str,
    attentions: torch.Tensor | np.ndarray,
    **options: Any,
) -> Figure:
    """
    Draws where a question made the model look: the picture once for every glimpse (Yang et al. 2016, fig. 1).

    Args:
        image (`PIL.Image.Image`):
            What was asked about.
        question, answer (`str`):
            Written above.
        attentions (`torch.Tensor` or `np.ndarray` of shape `(glimpses, regions)`):
            Weights from zero to one.
        options (`Any`):
            `grid`, `regions`, `shared_scale`, `highest`, `max_columns` and `ax` of [`plot_caption_attention`].

    Returns:
        `matplotlib.figure.Figure`: The picture.
    """
    return plot_caption_attention(
        image,
        _glimpse_names(attentions),
        attentions,
        title=f"{question} \N{RIGHTWARDS ARROW} {answer}",
        **options,
    )


@with_fonts
def plot_alignment(
    source_tokens: Sequence[str],
    tokens: Sequence[str],
    attentions: torch.Tensor | np.ndarray,
    highest: float | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """
    Draws the source words that each target word looked at (Bahdanau et al. 2015, fig. 3).

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
        `matplotlib.figure.Figure`: The picture.

    Raises:
        ValueError: Where shapes do not fit each other, a weight is negative or not finite, or the words do not fit.
    """
    weights = check_weights(attentions, (len(tokens), len(source_tokens)), "(tokens, source tokens)")
    highest = check_highest(highest, weights)
    boxes = boxes_for_missing_letters([*source_tokens, *tokens, title or ""])
    source_tokens, tokens = ([token.translate(boxes) for token in each] for each in (source_tokens, tokens))
    rows, columns = weights.shape
    matrix_width, matrix_height = columns * _CELL_INCHES, rows * _CELL_INCHES
    beside = max(inches_of(word) for word in tokens) + 0.2
    above = max(inches_of(word) for word in source_tokens) + 0.2
    width = max(beside + matrix_width + 0.1, 2.0)
    title_lines, head = wrap_title((title or "").translate(boxes), width)
    foot = 0.55
    sheet = Sheet(ax, width, head + above + matrix_height + foot)
    sheet.write_title(title_lines)
    axes = sheet.axes(beside, head + above, matrix_width, matrix_height)
    axes.imshow(weights, cmap=_INK, vmin=0, vmax=highest, aspect="auto", interpolation="nearest")
    points = WORD_POINTS * sheet.scale
    axes.xaxis.tick_top()
    axes.set_xticks(range(columns), source_tokens, rotation=90, fontsize=points, parse_math=False)
    axes.set_yticks(range(rows), tokens, fontsize=points, parse_math=False)
    axes.set_xticks(np.arange(columns + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(rows + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="0.88", linewidth=0.5)
    axes.tick_params(which="both", length=0, pad=4 * sheet.scale)
    axes.spines[:].set(linewidth=0.5, color="0.5")
    sheet.draw_scale(_INK, highest)
    return sheet.figure


@with_fonts
def plot_comparison(
    answers: Mapping[str, Mapping[str, Any]],
    image: Image.Image | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """
    Draws where two or more models looked, on one scale: of an image one below the other, of a text side by side.

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
        `matplotlib.figure.Figure`: The picture.

    Raises:
        ValueError: Where there are fewer than two answers, or they hold no attention weights.
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
    highest = max(check_given(answer["attentions"]).max().item() for answer in answers.values())
    written = [title or "", *answers]
    for answer in answers.values():
        written += [*(answer.get("tokens") or ()), *(answer.get("source_tokens") or ()), answer.get("answer") or ""]
    boxes = boxes_for_missing_letters(written)

    def draw(name: str, answer: Mapping[str, Any], ax: Axes | None) -> Figure:
        if "tokens" not in answer:  # of known answers the model writes no word, but looks in glimpses
            name = f"{name} \N{RIGHTWARDS ARROW} {answer['answer']}"
        name = name.translate(boxes)
        tokens = [token.translate(boxes) for token in answer.get("tokens") or _glimpse_names(answer["attentions"])]
        if image is None:
            source_tokens = [token.translate(boxes) for token in answer["source_tokens"]]
            return plot_alignment(source_tokens, tokens, answer["attentions"], highest=highest, title=name, ax=ax)
        places = {key: answer[key] for key in ("grid", "regions") if key in answer}
        return plot_caption_attention(
            image, tokens, answer["attentions"], highest=highest, title=name, ax=ax, **places
        )

    # Each is drawn alone first, to see how large it is.
    sizes = np.array([draw(name, answer, None).get_size_inches() for name, answer in answers.items()])
    along, across = (1, 0) if image is not None else (0, 1)
    size = np.zeros(2)
    size[along], size[across] = sizes[:, along].sum(), sizes[:, across].max()
    lines, head = wrap_title((title or "").translate(boxes), size[0])
    head = head + 0.1 if lines else 0.0
    sheet = Sheet(ax, size[0], size[1] + head)
    sheet.write_title(lines)
    place = 0.0
    for own, (name, answer) in zip(sizes, answers.items(), strict=True):
        left, top = (0.0, head + place) if along else (place, head)
        draw(name, answer, sheet.axes(left, top, *((size[0], own[1]) if along else (own[0], size[1]))))
        place += own[along]
    return sheet.figure


def _glimpse_names(attentions: torch.Tensor | np.ndarray) -> list[str]:
    count = len(check_given(attentions))
    return ["glimpse"] if count == 1 else [f"glimpse {number + 1}" for number in range(count)]
