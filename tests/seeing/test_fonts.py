import io
import unicodedata
import warnings

import numpy as np
import pytest
import torch
from common.fonts import hide_installed_fonts, make_font
from matplotlib.figure import Figure
from PIL import Image

from hf_attention.seeing import attention_page, plot_alignment, plot_caption_attention, plot_comparison, plot_glimpses
from hf_attention.seeing.fonts import MissingLettersWarning, inches_of


CUNEIFORM, JAPANESE, PRIVATE = "\U00012000\U00012001", "\u72ac\u304c\u3044\u308b\u3002", "\ue000\U000f0000"
IMAGE = Image.new("RGB", (8, 8))
ONE = torch.ones(1, 1)


def warnings_of(draw) -> list[warnings.WarningMessage]:
    """What a reader of the terminal is told of a figure, until it is saved."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        draw().savefig(io.BytesIO())
    return caught


@pytest.mark.parametrize(
    "draw",
    [
        lambda word: plot_alignment([word], [f"a{word}"], ONE, title=word),
        lambda word: plot_caption_attention(IMAGE, [word], ONE, title=word),
        lambda word: plot_glimpses(IMAGE, word, word, ONE),
        lambda word: plot_comparison(
            {"a": {"answer": word, "attentions": ONE}, word: {"answer": "b", "attentions": ONE}}, IMAGE
        ),
        lambda word: plot_comparison(
            {name: {"tokens": [word], "source_tokens": [word], "attentions": ONE} for name in ("a", "b")}, title=word
        ),
    ],
    ids=["alignment", "caption", "glimpses", "comparison of answers", "comparison of translations"],
)
def test_letters_without_a_font_are_said_once(draw, monkeypatch):
    """However many they are: matplotlib, which has a warning for each, has nothing to add."""
    hide_installed_fonts(monkeypatch)
    [warning] = warnings_of(lambda: draw(CUNEIFORM + JAPANESE + PRIVATE))
    assert warning.category is MissingLettersWarning
    letters = "\u3002 \u3044 \u304c \u308b \u72ac U+E000 \U00012000 \U00012001 U+F0000"
    assert str(warning.message) == (
        f"No installed font has the letters {letters}: install Noto Sans CJK (on Debian and Ubuntu the package "
        "fonts-noto-cjk) and the Noto fonts of their scripts (on Debian and Ubuntu the package fonts-noto-core) and "
        "the font that was made for them. Fonts of nearly all scripts are at https://fonts.google.com/noto."
    )


@pytest.mark.parametrize(
    ("letters", "fonts", "others"),
    [
        (JAPANESE, "fonts-noto-cjk", "fonts-noto-core"),
        ("\uac00", "fonts-noto-cjk", "fonts-noto-core"),
        (CUNEIFORM, "fonts-noto-core", "fonts-noto-cjk"),
        (PRIVATE, "that was made for them", "package"),
    ],
    ids=["Japanese", "Korean", "cuneiform", "private"],
)
def test_the_font_that_is_named_has_the_letters(letters, fonts, others, monkeypatch):
    hide_installed_fonts(monkeypatch)
    [warning] = warnings_of(lambda: plot_alignment([letters], ["a"], ONE))
    assert fonts in str(warning.message) and others not in str(warning.message)


def test_a_box_stands_in_place_of_a_letter_without_a_font(monkeypatch):
    hide_installed_fonts(monkeypatch)
    with pytest.warns(MissingLettersWarning):
        figure = plot_alignment([f"a{CUNEIFORM}"], [f"\ue000\t{JAPANESE[0]}"], ONE, title=CUNEIFORM)
    axes = figure.axes[0]
    labels = [label.get_text() for label in (*axes.get_xticklabels(), *axes.get_yticklabels())]
    assert labels == ["a\u25a1\u25a1", "\u25a1 \u25a1"] and figure.get_suptitle() == "\u25a1\u25a1"


@pytest.mark.parametrize("category", ["Cc", "Cf", "Zs", "Zl", "Zp"])
def test_what_is_no_letter_wants_no_font(category, monkeypatch):
    """Control characters, joiners and spaces, in whatever language model's token: nobody is told of them."""
    hide_installed_fonts(monkeypatch)
    signs = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) == category]
    signs = [sign for sign in signs if unicodedata.bidirectional(sign) not in ("AN", "ON")][:60]
    assert signs
    assert not warnings_of(
        lambda: plot_alignment([f"a{sign}b" for sign in signs], ["a\ufe0f"], torch.ones(1, len(signs)))
    )


def test_letters_that_matplotlib_brings_along(monkeypatch):
    hide_installed_fonts(monkeypatch)
    assert not warnings_of(
        lambda: plot_alignment(["\u05e9\u05dc\u05d5\u05dd"], ["\u0645\u0631\u062d\u0628\u0627"], ONE)
    )


def test_letters_of_a_font_that_was_installed_since(monkeypatch, tmp_path):
    """Whatever its name, and though matplotlib made its list of fonts before: so that the advice helps at once."""
    damaged = tmp_path / "damaged.ttf"
    damaged.write_bytes(b"no font")
    hide_installed_fonts(monkeypatch, damaged, make_font(tmp_path / "squares.ttf", "Squares of the test", CUNEIFORM))
    figure = None

    def draw() -> Figure:
        nonlocal figure
        figure = plot_alignment([CUNEIFORM[0]], ["a"], ONE)
        return figure

    assert not warnings_of(draw)
    [label] = figure.axes[0].get_xticklabels()
    assert label.get_text() == CUNEIFORM[0]
    box = label.get_window_extent()
    figure.savefig(file := io.BytesIO(), dpi=100)
    page = np.asarray(Image.open(file).convert("L"))
    inside = page[page.shape[0] - int(box.y1) + 3 : page.shape[0] - int(box.y0) - 3, int(box.x0) + 3 : int(box.x1) - 3]
    assert inside.mean() < 100  # the font's square is black, and the box that stands for a missing letter is hollow
    [warning] = warnings_of(lambda: plot_alignment([CUNEIFORM + PRIVATE[0]], ["a"], ONE))
    assert "letters U+E000:" in str(warning.message)


def test_a_page_has_every_letter():
    """It names no font: the browser finds one, of the visitor's."""
    page = attention_page([CUNEIFORM, JAPANESE], torch.eye(2), source_tokens=[JAPANESE, PRIVATE])
    assert all(word in page for word in (CUNEIFORM, JAPANESE, PRIVATE))


def test_right_to_left_text_is_drawn_as_it_is_read():
    """An alif stands alone; a word of two letters that join is narrower than the two of them apart."""
    joined, apart = "\u0628\u0628", "\u0628\u200c\u0628"
    assert inches_of(joined) < 0.9 * inches_of(apart)
