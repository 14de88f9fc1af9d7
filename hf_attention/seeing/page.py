"""Where a model looked, as one HTML file that stands alone: pointing at a word shows what it looked at."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from .checks import check_grid, check_weights
from .html import STYLE, look_html, picture_view, sentence_view


# Nothing is fetched and nothing runs: style and picture are within.
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ font: 18px/1.6 system-ui, sans-serif; color: #1c1917; background: #fff; max-width: 44rem; margin: 2rem auto;
  padding: 0 1rem; }}
h1 {{ font-size: 1.1rem; font-weight: 600; overflow-wrap: anywhere; }}
{style}</style>
</head>
<body>
<h1 dir="auto">{title}</h1>
{look}
<p>Point at a word, or choose it, to see where the model looked.</p>
</body>
</html>
"""


def attention_page(
    tokens: Sequence[str],
    attentions: torch.Tensor | np.ndarray,
    image: Image.Image | None = None,
    regions: torch.Tensor | np.ndarray | None = None,
    grid: tuple[int, int] | None = None,
    source_tokens: Sequence[str] | None = None,
    title: str = "Where the model looked",
) -> str:
    """
    Makes an HTML file of an answer. It needs no other file and no network.

    Args:
        tokens (`Sequence[str]`):
            The words that the model wrote. [`merge_words`] makes words of sub-words.
        attentions (`torch.Tensor` or `np.ndarray` of shape `(len(tokens), positions)`):
            Their maps: weights from zero to one.
        image (`PIL.Image.Image`, *optional*):
            What was looked at: under a word the picture is in grey, and coloured where the word's weight is, from
            violet to yellow at the largest weight of all words.
        regions (`torch.Tensor` or `np.ndarray` of shape `(positions, 4)`, *optional*):
            Needed with `image`: left, top, right and bottom of each region in its pixels, as a pipeline returns them.
        grid (`tuple[int, int]`, *optional*):
            Rows and columns of the regions, between whose middles the weights are then interpolated. By default each
            region is filled with its weight.
        source_tokens (`Sequence[str]`, *optional*):
            In place of `image`: the words that were looked at, coloured likewise.
        title (`str`, *optional*, defaults to `"Where the model looked"`):
            The page's.

    Returns:
        `str`: The page, to be written in UTF-8.

    Raises:
        ValueError: Where not exactly one of `image` and `source_tokens` is given, or shapes do not fit.

    Example:

    ```python
    >>> [answer] = captioner(image, output_attentions=True)
    >>> page = attention_page(answer["tokens"], answer["attentions"], image, answer["regions"], answer["grid"])
    >>> Path("where.html").write_text(page, encoding="utf-8")
    ```
    """
    if (image is None) == (source_tokens is None):
        raise ValueError("Pass exactly one of `image` and `source_tokens`.")
    positions = None if source_tokens is None else len(source_tokens)
    weights = torch.from_numpy(check_weights(attentions, (len(tokens), positions), "(tokens, positions)"))
    if source_tokens is not None:
        view = sentence_view(source_tokens, weights, float(weights.max()) or 1.0)
        nothing = "the sentence"
    else:
        shape = None if regions is None else tuple(torch.as_tensor(regions).shape)
        if shape != (weights.shape[1], 4):
            raise ValueError(f"`regions` must have shape ({weights.shape[1]}, 4) beside `image`, got {shape}.")
        boxes = torch.as_tensor(regions).detach().float().cpu()
        grid = None if grid is None else check_grid(grid, len(boxes))
        view = picture_view(image, boxes, grid, weights)
        nothing = "the picture"
    look = look_html(tokens, [view], [False] * len(tokens), "Where the model looked as it wrote each word", nothing)
    return _PAGE.format(title=html.escape(title), style=STYLE, look=look)
