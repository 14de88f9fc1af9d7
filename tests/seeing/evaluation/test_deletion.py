import math

import numpy as np
import pytest
from common.evaluated import GRID, look, make_arguments, peaked
from PIL import Image

from hf_attention.seeing.evaluation.deletion import blank, bootstrap, deletion


def test_regions_are_painted_over_with_the_mean_colour():
    image = Image.new("RGB", (32, 32), (200, 0, 100))
    image.paste((0, 0, 0), (0, 0, 16, 32))
    blanked = np.array(blank(image, GRID[[1, 15]]))
    assert (blanked[:8, 8:16] == [100, 0, 50]).all() and (blanked[24:, 24:] == [100, 0, 50]).all()
    untouched = np.ones((32, 32), bool)
    untouched[:8, 8:16] = untouched[24:, 24:] = False
    assert (blanked[untouched] == np.array(image)[untouched]).all()


def test_deletion_takes_away_the_most_attended_tenth():
    """Two cells hold what the answer hangs on; all attention lies there. As many random ones seldom hit them."""
    image = Image.new("RGB", (32, 32))
    image.paste((255, 255, 255), (8, 8, 24, 16))  # the cells 5 and 6

    def has_changed(looks, pictures):
        return [picture.getpixel((12, 12)) != (255, 255, 255) for picture in pictures]

    looks = [look(peaked(5, 6), (8, 8, 24, 16), picture) for picture in range(200)]
    measures = deletion(looks, [image] * 200, has_changed, make_arguments(resamples=2000))
    assert measures["changed_without_most_attended"] == 1
    assert measures["changed_without_random"] == pytest.approx(2 / 16, abs=0.08)
    assert 0.7 < measures["difference_low"] < measures["difference"] < measures["difference_high"] < 1


def test_the_interval_is_over_pictures():
    """Values of one picture stick together: so many copies of ten draws are worth ten, not a thousand."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=10)
    low, high = bootstrap(np.repeat(means, 100), np.repeat(np.arange(10), 100), 4000, rng)
    width = 2 * 1.96 * means.std() / math.sqrt(10)
    assert high - low == pytest.approx(width, rel=0.15)
    assert low < means.mean() < high
