import warnings

import pytest
import torch

from hf_attention.seeing import plot_alignment
from hf_attention.seeing.fonts import inches_of


def test_letters_without_a_font_are_said():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_alignment(["\u05e9\u05dc\u05d5\u05dd"], ["\u0645\u0631\u062d\u0628\u0627"], torch.ones(1, 1))
    with pytest.warns(UserWarning, match="No installed font has the letters \U00012000"):
        plot_alignment(["\U00012000"], ["a"], torch.ones(1, 1))


def test_right_to_left_text_is_drawn_as_it_is_read():
    """An alif stands alone; a word of two letters that join is narrower than the two of them apart."""
    joined, apart = "\u0628\u0628", "\u0628\u200c\u0628"
    assert inches_of(joined) < 0.9 * inches_of(apart)
