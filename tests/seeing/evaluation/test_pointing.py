import numpy as np
import pytest
import torch
from common.evaluated import GRID, look, peaked

from hf_attention.seeing.evaluation.pointing import covered, pointing


def test_which_regions_lie_in_boxes_by_counting_pixels():
    rng = np.random.default_rng(0)
    for _ in range(20):
        boxes = []
        for _ in range(2):
            left, top = rng.integers(0, 24, 2)
            boxes.append((left, top, left + rng.integers(1, 8), top + rng.integers(1, 8)))
        mask = np.zeros((32, 32), bool)
        for left, top, right, bottom in boxes:
            mask[top:bottom, left:right] = True
        cells = mask.reshape(4, 8, 4, 8).swapaxes(1, 2).reshape(16, 64)
        hits, shares = covered(GRID, boxes)
        assert hits.tolist() == cells.any(1).tolist()
        assert np.allclose(shares, cells.mean(1))
    # Edges that touch do not intersect; parts of pixels count.
    hits, shares = covered(torch.tensor([[0, 0, 8.0, 8], [6.5, 0, 8.5, 2]]), [(8, 0, 16, 8)])
    assert hits.tolist() == [False, True] and shares.tolist() == [0, 0.25]


def test_pointing_and_its_chance():
    box = (0, 0, 12, 8)  # the first cell, and half of the second
    measures = pointing([look(peaked(0), box), look(peaked(1), box), look(peaked(2), box)])
    assert measures["looks"] == 3
    assert measures["pointing"] == pytest.approx(2 / 3)
    assert measures["pointing_by_chance"] == pytest.approx(2 / 16)
    assert measures["attention_inside"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert measures["attention_inside_uniform"] == pytest.approx(12 * 8 / 32**2)
    uniform = pointing([look(torch.full((16,), 1 / 16), box)])
    assert uniform["attention_inside"] == pytest.approx(uniform["attention_inside_uniform"])
    assert pointing([]) == {"looks": 0} | dict.fromkeys(measures.keys() - {"looks"})
