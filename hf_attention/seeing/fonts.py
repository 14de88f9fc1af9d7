"""Letters of every script: which fonts have them, and how much room they take."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ..extras import missing_modules, require_extra


if TYPE_CHECKING or not missing_modules("visualization"):
    from matplotlib import font_manager, rc_context, rcParams
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure


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

WORD_POINTS = 11.0


def with_fonts(plot: Callable[..., Figure]) -> Callable[..., Figure]:
    """
    Lets a function draw with the fallback fonts; without matplotlib a call says how to get it.

    Args:
        plot (`Callable`): Returns a figure.

    Returns:
        `Callable`: Does the same.
    """

    @functools.wraps(plot)
    def drawn(*args: Any, **kwargs: Any) -> Figure:
        require_extra("visualization")
        installed = set(font_manager.get_font_names())
        with rc_context({"font.family": [*rcParams["font.family"], *(f for f in FALLBACK_FONTS if f in installed)]}):
            return plot(*args, **kwargs)

    return drawn


@functools.lru_cache(maxsize=4096)
def inches_of(word: str) -> float:
    """
    Measures a word.

    Args:
        word (`str`): As it is drawn, in letters of `WORD_POINTS`.

    Returns:
        `float`: How long it is.
    """
    figure = Figure(dpi=100)
    canvas = FigureCanvasAgg(figure)
    text = figure.text(0, 0, word, fontsize=WORD_POINTS, parse_math=False)
    return text.get_window_extent(canvas.get_renderer()).width / 100


def points_to_fit(word: str, inches: float) -> float:
    """
    Makes a word that is longer than its place smaller.

    Args:
        word (`str`): A word.
        inches (`float`): The length of its place.

    Returns:
        `float`: The size of its letters: `WORD_POINTS`, or less.
    """
    return WORD_POINTS * min(1.0, inches / max(inches_of(word), 1e-6))


def warn_of_missing_letters(words: Iterable[str]) -> None:
    """
    Names the letters that no font has.

    Args:
        words (`Iterable[str]`): What is to be drawn.
    """
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


@functools.lru_cache(maxsize=32)
def _letters_of(family: str) -> frozenset[int]:
    path = font_manager.findfont(font_manager.FontProperties(family=[family]))
    return frozenset(font_manager.get_font(path).get_charmap())
