import logging
import warnings
from functools import partial

import pytest
import torch
from common.fonts import hide_installed_fonts
from PIL import Image

from hf_attention.seeing import plot_alignment
from hf_attention.training.publish.card_picture import PICTURE_FILE, save_picture


def draw(word: str):
    return plot_alignment(["a", "dog"], [word, "."], torch.eye(2))


def test_a_picture_is_saved_crisp(tmp_path):
    assert save_picture(partial(draw, "Hund"), tmp_path) == PICTURE_FILE
    with Image.open(tmp_path / PICTURE_FILE) as picture:
        assert picture.info["dpi"][0] == pytest.approx(150, abs=1)


def test_a_picture_whose_letters_no_font_has_is_left_out_in_one_line(tmp_path, monkeypatch, caplog):
    hide_installed_fonts(monkeypatch)
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        assert save_picture(partial(draw, "\u3042\u3044\u3046\u3048\u304a\u72ac"), tmp_path) is None
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith("The model card has no picture. No installed font has the letters \u3042 ")
    assert "Noto Sans CJK" in line and "fonts-noto-cjk" in line and "\n" not in line
    assert not list(tmp_path.iterdir())


def test_there_may_be_nothing_to_see(tmp_path):
    assert save_picture(lambda: None, tmp_path) is None and not list(tmp_path.iterdir())
