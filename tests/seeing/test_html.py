"""What an HTML look shows, without a browser."""

import numpy as np
import pytest
import torch
from common.looks import Look, shares
from PIL import Image

from hf_attention.seeing.html import look_html, picture_view, sentence_view


def grid_boxes(rows: int, columns: int, width: float, height: float) -> torch.Tensor:
    return torch.tensor(
        [
            [x * width / columns, y * height / rows, (x + 1) * width / columns, (y + 1) * height / rows]
            for y in range(rows)
            for x in range(columns)
        ]
    )


def test_the_colours_of_a_picture_tell_the_weight_between_the_middles_of_the_regions():
    weights = torch.rand(3, 12)
    weights[0, 11] = 1  # the largest of all
    image = Image.new("RGB", (400, 300), "white")
    view = picture_view(image, grid_boxes(3, 4, 400, 300), (3, 4), weights)
    seen = shares(Look("".join(view.layers)).maps[0])
    grid = weights[0].reshape(3, 4).numpy()
    height, width = seen.shape
    for row in range(0, height, 7):
        for column in range(0, width, 5):
            y = np.clip((row + 0.5) / height * 3 - 0.5, 0, 2)
            x = np.clip((column + 0.5) / width * 4 - 0.5, 0, 3)
            top, left = min(int(y), 1), min(int(x), 2)
            y, x = y - top, x - left
            expected = (1 - y) * ((1 - x) * grid[top, left] + x * grid[top, left + 1])
            expected += y * ((1 - x) * grid[top + 1, left] + x * grid[top + 1, left + 1])
            assert seen[row, column] == pytest.approx(expected, abs=0.02)
    assert ">1<" in view.scale.replace("</i>", ">") or "1</div>" in view.scale


def test_one_scale_for_all_words():
    weights = torch.tensor([[0.0, 0.5], [0.0, 0.25]])
    layers = Look("".join(picture_view(Image.new("RGB", (64, 32)), grid_boxes(1, 2, 64, 32), (1, 2), weights).layers))
    for layer, largest in zip(layers.maps, (1, 0.5), strict=True):
        assert shares(layer)[0, [0, -1]] == pytest.approx([0, largest], abs=0.02)


def test_what_was_cropped_away_is_nearly_white():
    boxes = grid_boxes(1, 2, 50, 100) + torch.tensor([25.0, 0, 25.0, 0])
    view = picture_view(Image.new("RGB", (100, 100)), boxes, (1, 2), torch.tensor([[1.0, 1.0]]))
    [layer] = Look(view.layers[0]).maps
    seen, colours = shares(layer), np.asarray(layer.convert("RGBA"))
    width = layer.width
    for column, is_seen in ((0, False), (width // 5, False), (width // 3, True), (-width // 3, True), (-1, False)):
        assert (seen[:, column] == 1).all() == is_seen
        assert (colours[:, column] == (255, 255, 255, 204)).all() != is_seen


@pytest.mark.parametrize("size", [(1, 1), (2000, 3), (3, 2000)])
def test_images_of_extreme_shape(size: tuple[int, int]):
    view = picture_view(Image.new("RGB", size), grid_boxes(2, 2, *size), (2, 2), torch.full((1, 4), 0.25))
    assert len(Look(look_html(["one"], [view], [False], "look")).maps) == 1


def test_a_word_may_be_html():
    word = "<script>alert('&')</script>"
    text = look_html([word], [sentence_view([word, "b"], torch.tensor([[0.25, 0.75]]))], [False], "look")
    shown = Look(text)
    assert shown.words == [word] and shown.weights == [[0.25, 0.75]]
    assert "<script" not in text


def test_boxes_anywhere_are_filled_with_their_weights():
    boxes = torch.tensor([[0.0, 0, 20, 30], [20, 0, 40, 30], [10, 10, 30, 20]])
    weights = torch.tensor([[0.2, 0.1, 0.4], [0.0, 0.0, 0.0]])
    first, second = Look("".join(picture_view(Image.new("RGB", (40, 40)), boxes, None, weights).layers)).maps
    scale = first.width / 40
    seen = shares(first)
    places = ((5, 5, 0.5), (9.9, 15, 0.5), (10.1, 15, 1), (29.9, 15, 1), (30.1, 15, 0.25), (35, 25, 0.25))
    for x, y, share in places:
        assert seen[int(y * scale), int(x * scale)] == pytest.approx(share, abs=0.02)
    assert np.isnan(seen[-5, 5])  # below all boxes: not seen
    assert (shares(second)[: int(30 * scale)] == 0).all()


def test_a_sentence_is_marked_on_the_scale_that_is_asked_for():
    weights = torch.tensor([[0.1, 0.4], [0.5, 0.0]])
    assert Look("".join(sentence_view(["a", "b"], weights).layers)).weights == [[0.1, 0.4], [0.5, 0.0]]
    view = sentence_view(["a", "b"], weights, highest=0.5)
    assert Look("".join(view.layers)).weights == [[0.2, 0.8], [1.0, 0.0]]
    assert "50 %" in view.scale and "40 %" in view.layers[0]


def test_the_first_word_is_chosen_or_nothing_is():
    view = sentence_view(["a"], torch.ones(2, 1))
    for nothing, words in ((None, ["one", "two"]), ("no <word>", ["no <word>", "one", "two"])):
        shown = Look(look_html(["one", "two"], [view], [False, True], "look", nothing))
        choices = [attributes for tag, attributes in shown.elements if tag == "input"]
        assert shown.words == words and len(choices) == len(words)
        assert ["checked" in choice for choice in choices] == [True, *[False] * (len(words) - 1)]
        assert len({choice["name"] for choice in choices}) == 1
        assert shown.weights == [[0.0]] * (nothing is not None) + [[1.0]] * 2, "each choice shows the sentence"
        assert [choice["title"] for choice in choices[-2:]] == ["largest weight 1.000"] * 2
