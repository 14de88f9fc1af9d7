"""Letters of every script: which fonts have them, and how much room they take."""

from __future__ import annotations

import contextlib
import functools
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
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

_BOX = "\N{WHITE SQUARE}"  # DejaVu Sans, which comes with matplotlib, has it
# Hangul's parts; radicals, kana and ideographs; Hangul; what is compatible or wide; rarer ideographs.
_EAST_ASIAN = (
    range(0x1100, 0x1200),
    range(0x2E80, 0xA000),
    range(0xAC00, 0xD800),
    range(0xF900, 0xFB00),
    range(0xFF00, 0xFFF0),
    range(0x20000, 0x40000),
)


class MissingLettersWarning(UserWarning):
    """No installed font has some letters; the message says which font to install."""


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


def boxes_for_missing_letters(texts: Iterable[str]) -> dict[int, str]:
    """
    Warns once of letters that no font has, and tells what to draw in their place, without a complaint of matplotlib.

    Where the fonts of [`with_fonts`] lack a letter, any installed font that has it joins them for the drawing.

    Args:
        texts (`Iterable[str]`): All that is to be drawn.

    Returns:
        `dict[int, str]`: For `str.translate`: a box for a letter, a space for a control character, nothing for a sign.
    """
    written = set().union(*texts)
    controls = {ord(letter) for letter in written if unicodedata.category(letter) == "Cc"} - {ord("\n")}
    unknown = {ord(letter) for letter in written if not letter.isspace()} - controls
    for family in rcParams["font.family"]:
        if unknown:
            unknown -= _letters_of(family)
    signs = {code for code in unknown if _is_sign(chr(code))}
    missing = unknown - signs
    if missing:
        for family in _other_families():
            found = missing & _letters_of(family)
            if found:
                rcParams["font.family"] = [*rcParams["font.family"], family]
                missing -= found
            if not missing:
                break
    if missing:
        warnings.warn(_advice(missing), MissingLettersWarning, stacklevel=4)
    return dict.fromkeys(missing, _BOX) | dict.fromkeys(controls, " ") | dict.fromkeys(signs, "")


def _advice(missing: set[int]) -> str:
    letters = " ".join(chr(code) if chr(code).isprintable() else f"U+{code:04X}" for code in sorted(missing)[:20])
    east_asian = {code for code in missing if any(code in block for block in _EAST_ASIAN)}
    private = {code for code in missing if unicodedata.category(chr(code)) in ("Co", "Cn")}
    fonts = []
    if east_asian:
        fonts.append("Noto Sans CJK (on Debian and Ubuntu the package fonts-noto-cjk)")
    if missing - east_asian - private:
        fonts.append("the Noto fonts of their scripts (on Debian and Ubuntu the package fonts-noto-core)")
    if private:
        fonts.append("the font that was made for them")
    more = " …" if len(missing) > 20 else ""
    return (
        f"No installed font has the letters {letters}{more}: install {' and '.join(fonts)}. "
        "Fonts of nearly all scripts are at https://fonts.google.com/noto."
    )


def _is_sign(letter: str) -> bool:
    """Whether it only joins, directs or varies its neighbours; the signs of numbers (AN) and notes (ON) are seen."""
    if unicodedata.category(letter) == "Cf":
        return unicodedata.bidirectional(letter) not in ("AN", "ON")
    return "VARIATION SELECTOR" in unicodedata.name(letter, "")


def _other_families() -> Iterator[str]:
    """The installed fonts, those too that were installed after matplotlib made its list."""
    _list_new_fonts()
    for family in sorted(set(font_manager.get_font_names()) - set(rcParams["font.family"])):
        if "lastresort" not in family.replace(" ", "").lower():  # it has a box for every letter
            yield family


@functools.lru_cache(maxsize=1)
def _list_new_fonts() -> None:
    known = {Path(font.fname).name for font in font_manager.fontManager.ttflist}
    for path in font_manager.findSystemFonts():
        if Path(path).name not in known:
            with contextlib.suppress(Exception):  # matplotlib cannot read every font, and leaves out those too
                font_manager.fontManager.addfont(path)


@functools.lru_cache(maxsize=1024)
def _letters_of(family: str) -> frozenset[int]:
    path = font_manager.findfont(font_manager.FontProperties(family=[family]))
    return frozenset(font_manager.get_font(path).get_charmap())
