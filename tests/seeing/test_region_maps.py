import numpy as np
import pytest

from hf_attention.seeing.region_maps import spread_weights


def boxes_of(rows: int, columns: int, left: float, top: float, width: float, height: float) -> np.ndarray:
    """Of a grid that covers a rectangle."""
    x, y = width / columns, height / rows
    corners = [(left + i * x, top + j * y) for j in range(rows) for i in range(columns)]
    return np.array([(a, b, a + x, b + y) for a, b in corners])


def interpolate(grid: np.ndarray, x: float, y: float) -> float:
    """The weight at a place, in cells from the left and the top, between the middles of four cells."""
    rows, columns = grid.shape
    x, y = (min(max(place - 0.5, 0), length - 1) for place, length in ((x, columns), (y, rows)))
    left, top = min(int(x), columns - 2), min(int(y), rows - 2)
    x, y = x - left, y - top
    above = (1 - x) * grid[top, left] + x * grid[top, left + 1]
    below = (1 - x) * grid[top + 1, left] + x * grid[top + 1, left + 1]
    return (1 - y) * above + y * below


@pytest.mark.parametrize("crop", [(0, 0, 400, 300), (50, 30, 300, 240)])
def test_a_grid_is_interpolated_between_the_middles_of_its_regions(crop: tuple[int, int, int, int]):
    weights = np.random.default_rng(0).random(12)
    left, top, width, height = crop
    whole = crop == (0, 0, 400, 300)
    spread = spread_weights(weights, (3, 4), None if whole else boxes_of(3, 4, *crop), (400, 300), 80)
    assert spread.shape == (60, 80)
    for row in range(60):
        for column in range(80):
            x, y = 5 * (column + 0.5), 5 * (row + 0.5)
            if left <= x <= left + width and top <= y <= top + height:
                expected = interpolate(weights.reshape(3, 4), (x - left) * 4 / width, (y - top) * 3 / height)
                assert spread[row, column] == pytest.approx(expected)
            else:
                assert np.isnan(spread[row, column])


def test_regions_of_padding_count_for_nothing():
    boxes = boxes_of(2, 2, 0, 0, 100, 100)
    boxes[:, [0, 2]] = [[0, 100], [100, 100]] * 2  # the right column lies in the padding
    spread = spread_weights(np.array([0.2, 9, 0.4, 9]), (2, 2), boxes, (100, 100), 10)
    assert spread[0] == pytest.approx(np.full(10, 0.2)) and spread[-1] == pytest.approx(np.full(10, 0.4))


def test_boxes_anywhere_are_filled_with_the_largest_weight():
    boxes = np.array([[0, 0, 60, 100], [40, 0, 80, 100]])
    for weights, middle in (([0.3, 0.1], 0.3), ([0.3, 0.5], 0.5)):
        [*_, last] = spread_weights(np.array(weights), None, boxes, (100, 100), 10)
        expected = [weights[0]] * 4 + [middle] * 2 + [weights[1]] * 2
        assert last[:8].tolist() == expected and np.isnan(last[8:]).all()
