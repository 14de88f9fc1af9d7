"""How attention lies over a picture, and that figures and pages do it alike."""

import io

import numpy as np
import pytest
import torch
from common.looks import Look
from common.overlays import colours_over, unseen_over
from PIL import Image

from hf_attention.seeing import attention_page, plot_caption_attention
from hf_attention.seeing.overlay import in_grey, overlay, scale_colours


SHARES = np.linspace(0, 1, 41)


def laid_over(grey: float, shares: np.ndarray) -> np.ndarray:
    layers = overlay(shares)
    return layers[..., :3] * layers[..., 3:] + grey * (1 - layers[..., 3:])


def luminance(colours: np.ndarray) -> np.ndarray:
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("grey", [0.0, 0.3, 0.6, 1.0])
def test_the_colours_are_those_of_plasma_over_a_veil(grey):
    assert laid_over(grey, SHARES) == pytest.approx(colours_over(grey, SHARES), abs=0.015)
    assert laid_over(grey, np.array([np.nan])) == pytest.approx(np.full((1, 3), unseen_over(grey)))
    assert overlay(SHARES.reshape(1, 41, 1)).shape == (1, 41, 1, 4)


def test_the_scale_shows_the_colours_over_a_middle_grey():
    assert scale_colours(41) == pytest.approx(colours_over(0.5, SHARES), abs=0.015)


def test_a_dark_subject_is_seen_wherever_the_model_looked():
    """
    It keeps its contrast with what is around it (WCAG asks for 3 between large things), and so do its darkest folds
    among each other, which are lifted from where a screen shows nothing.
    """
    black, white = (luminance(laid_over(grey, SHARES)) for grey in (0.0, 1.0))
    assert ((white[SHARES < 0.1] + 0.05) / (black[SHARES < 0.1] + 0.05) > 3).all()
    folds = np.abs(laid_over(0.15, SHARES) - laid_over(0.0, SHARES)).max(-1)
    assert (folds > 0.02).all() and folds[0] > 0.09
    assert black[0] > 0.04


def test_colour_blind_people_see_the_largest_weights():
    """Without red against green, blue against yellow is left: it rises with the weight over any grey."""
    for grey in (0.0, 0.5, 1.0):
        colours = laid_over(grey, SHARES[SHARES >= 0.4])
        yellow = colours[:, :2].mean(1) - colours[:, 2]
        assert (np.diff(yellow) > 0).all() and yellow[-1] > 0.4


def test_grey_is_that_of_browsers():
    """`grayscale(0.75)` of the Filter Effects Module, whose matrix this is."""
    luma, amount = np.array([0.2126, 0.7152, 0.0722]), 1 - 0.75
    matrix = luma + amount * (np.eye(3) - luma)
    for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9), (200, 100, 50)):
        expected = matrix @ np.array(colour)
        assert in_grey(Image.new("RGB", (1, 1), colour)).getpixel((0, 0)) == pytest.approx(expected, abs=1)


def test_colours_of_equal_lightness_are_told_apart():
    """A red thing on a grey ground of the same luma."""
    red, ground = (
        np.array(in_grey(Image.new("RGB", (1, 1), colour)).getpixel((0, 0))) / 255
        for colour in ((204, 34, 34), (70, 70, 70))
    )
    assert np.abs(laid_over(red, np.zeros(1)) - laid_over(ground, np.zeros(1))).max() > 0.07


def test_figures_and_pages_show_the_same():
    """Of a picture in colours, two of whose three regions were seen."""
    image = Image.new("RGB", (96, 32))
    for place, colour in ((0, (200, 40, 40)), (32, (20, 30, 90)), (64, (240, 240, 230))):
        image.paste(colour, (place, 0, place + 32, 32))
    regions = torch.tensor([[0.0, 0, 32, 32], [32, 0, 64, 32]])
    weights = torch.tensor([[0.2, 0.4]])
    figure = plot_caption_attention(image, ["a"], weights, regions=regions)
    file = io.BytesIO()
    figure.savefig(file, dpi=100)
    page = Image.open(file).convert("RGB")
    box = [ax for ax in figure.axes if ax.images][1].get_window_extent()
    [layer] = Look(attention_page(["a"], weights, image, regions)).maps
    seen = Image.alpha_composite(in_grey(image).resize(layer.size).convert("RGBA"), layer.convert("RGBA"))
    for place in (0.2, 0.5, 0.8):
        x, y = box.x0 + place * box.width, page.height - (box.y0 + box.y1) / 2
        drawn = page.getpixel((int(x), int(y)))
        assert drawn == pytest.approx(seen.getpixel((int(place * seen.width), seen.height // 2))[:3], abs=3)
