import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from hf_attention.visualization import plot_caption_attention


WORDS = ["a", "red", "circle"]


def picture(size: tuple[int, int] = (64, 64)) -> Image.Image:
    return Image.new("RGB", size, (200, 200, 200))


def panels(figure) -> list:
    """The axes that show a picture: the picture alone, then one a word."""
    return [ax for ax in figure.axes if ax.images]


def rendered(figure, ax) -> np.ndarray:
    """What a reader sees of one panel: grey levels from 0 to 1."""
    file = io.BytesIO()
    figure.savefig(file, dpi=100, format="png")
    page = Image.open(file).convert("L")
    box = ax.get_window_extent()
    return (
        np.asarray(
            page.crop((int(box.x0) + 2, page.height - int(box.y1) + 2, int(box.x1) - 2, page.height - int(box.y0) - 2))
        )
        / 255
    )


def test_each_word_stands_over_its_own_panel():
    figure = plot_caption_attention(picture(), WORDS, torch.full((3, 16), 1 / 16))
    assert [ax.get_title() for ax in panels(figure)] == ["", *WORDS]


def test_the_picture_is_bright_where_the_model_looked():
    attention = np.zeros((2, 4, 6))
    attention[0, 0, 5] = 1.0  # top right
    attention[1, 3, 1] = 1.0  # bottom, second from the left
    figure = plot_caption_attention(picture((96, 64)), ["up", "down"], attention.reshape(2, 24), grid=(4, 6))
    alone, up, down = (rendered(figure, ax) for ax in panels(figure))
    assert np.ptp(alone) < 0.02
    for seen, (row, column) in ((up, (0, 5)), (down, (3, 1))):
        height, width = seen.shape
        y, x = np.unravel_index(seen.argmax(), seen.shape)
        assert int(y / height * 4) == row and int(x / width * 6) == column
        assert seen.max() == pytest.approx(alone.max(), abs=0.05)
        assert seen.min() < 0.5 * alone.min()


def test_one_scale_for_all_words_unless_asked():
    weights = torch.tensor([[0.25] * 4, [1.0, 0, 0, 0]])
    shared = plot_caption_attention(picture(), ["the", "dog"], weights)
    own = plot_caption_attention(picture(), ["the", "dog"], weights, shared_scale=False)
    alone, uniform, _ = (rendered(shared, ax).mean() for ax in panels(shared))
    assert uniform < 0.6 * alone
    assert rendered(own, panels(own)[1]).mean() == pytest.approx(alone, abs=0.02)
    assert [text.get_text() for ax in panels(own) for text in ax.texts] == ["max 0.25", "max 1"]


def test_the_bar_says_the_largest_weight():
    weights = torch.zeros(3, 9)
    weights[1, 4] = 0.62
    figure = plot_caption_attention(picture(), WORDS, weights)
    figure.canvas.draw()
    labels = [label.get_text() for ax in figure.axes for label in ax.get_xticklabels() if not ax.images]
    assert "0.62" in labels and "0" in labels


@pytest.mark.parametrize("words", [9, 20])
def test_no_word_is_clipped_or_runs_into_another(words):
    tokens = ["electroencephalographically" if i % 3 == 1 else "$x_word" for i in range(words)]
    figure = plot_caption_attention(
        picture((120, 60)), tokens, torch.full((words, 4), 0.25), max_columns=6, title="a long $sentence " * 20
    )
    figure.canvas.draw()
    page = figure.bbox
    title = figure.get_suptitle()
    assert title.split() == ["a", "long", "$sentence"] * 20
    boxes = [figure._suptitle.get_window_extent()] + [
        ax.title.get_window_extent() for ax in panels(figure) if ax.get_title()
    ]
    assert len(boxes) == words + 1
    for box in boxes:
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])
        assert not any(box.overlaps(ax.get_window_extent()) for ax in panels(figure))
    assert max(len({round(ax.get_position().x0, 3) for ax in panels(figure)}), 1) <= 6


def test_half_precision_on_the_graph_is_drawn():
    weights = torch.full((3, 4), 0.25, dtype=torch.bfloat16, requires_grad=True)
    assert len(panels(plot_caption_attention(picture(), WORDS, weights))) == 4


@pytest.mark.parametrize(
    ("weights", "options", "message"),
    [
        (torch.ones(3, 12), {}, "12 regions are no square grid: pass `grid="),
        (torch.ones(3, 12), {"grid": (3, 3)}, "`grid` must be (rows, columns) of 12 regions, got (3, 3)"),
        (torch.ones(2, 4), {}, "here (3, regions), got (2, 4)"),
        (torch.ones(4), {}, "`attentions` must have shape"),
        (torch.full((3, 4), torch.nan), {}, "`attentions` must be finite"),
        (torch.full((3, 4), -0.1), {}, "not negative"),
        (torch.ones(3, 4), {"max_columns": 0}, "`max_columns` must be at least 1, got 0"),
    ],
)
def test_wrong_arguments_are_named(weights, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        plot_caption_attention(picture(), WORDS, weights, **options)
