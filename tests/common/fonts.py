"""Fonts that do not depend on what is installed."""

from pathlib import Path

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager, get_data_path

from hf_attention.seeing import fonts


def hide_installed_fonts(monkeypatch: pytest.MonkeyPatch, *others: Path) -> None:
    """
    Leaves matplotlib the fonts that it brings along.

    Args:
        monkeypatch: Of the test.
        others: Files of fonts that are installed, and that matplotlib has not listed yet.
    """
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [])
    for own in Path(get_data_path(), "fonts", "ttf").glob("DejaVu*.ttf"):
        font_manager.fontManager.addfont(own)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: list(map(str, others)))
    fonts._list_new_fonts.cache_clear()


def make_font(path: Path, family: str, letters: str) -> Path:
    """
    Makes a font whose letters are black squares.

    Args:
        path: Where it is written.
        family: Its name.
        letters: What it has.
    """
    builder = FontBuilder(1000, isTTF=True)
    names = [".notdef", *(f"u{ord(letter):X}" for letter in letters)]
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(letter): f"u{ord(letter):X}" for letter in letters})
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 800), (800, 800), (800, 0)):
        pen.lineTo(corner)
    pen.closePath()
    square = pen.glyph()
    builder.setupGlyf(dict.fromkeys(names, square))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (1000, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return path
