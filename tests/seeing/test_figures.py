import io
import re
import time

import numpy as np
import pytest
import torch
from common.overlays import shares_seen, unseen_over
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from hf_attention.seeing import plot_alignment, plot_caption_attention, plot_comparison, plot_glimpses


WORDS = ["a", "red", "circle"]
GREY = 200


def picture(size: tuple[int, int] = (64, 64)) -> Image.Image:
    return Image.new("RGB", size, (GREY, GREY, GREY))


def panels(figure) -> list:
    """The axes that show a picture: the picture alone, then one a word."""
    return [ax for ax in figure.axes if ax.images]


def rendered(figure, ax) -> np.ndarray:
    """What a reader sees of one panel: red, green and blue from 0 to 1."""
    file = io.BytesIO()
    figure.savefig(file, dpi=100, format="png")
    page = Image.open(file).convert("RGB")
    box = ax.get_window_extent()
    return (
        np.asarray(
            page.crop((int(box.x0) + 2, page.height - int(box.y1) + 2, int(box.x1) - 2, page.height - int(box.y0) - 2))
        )
        / 255
    )


def shares(figure, ax) -> np.ndarray:
    """Weights as shares of the largest, read off one panel; NaN where it has another colour."""
    return shares_seen(rendered(figure, ax), GREY / 255)


def test_each_word_stands_over_its_own_panel():
    figure = plot_caption_attention(picture(), WORDS, torch.full((3, 16), 1 / 16))
    assert [ax.get_title() for ax in panels(figure)] == ["", *WORDS]


def test_the_picture_is_coloured_where_the_model_looked():
    attention = np.zeros((2, 4, 6))
    attention[0, 0, 5] = 1.0  # top right
    attention[1, 3, 1] = 1.0  # bottom, second from the left
    figure = plot_caption_attention(picture((96, 64)), ["up", "down"], attention.reshape(2, 24), grid=(4, 6))
    alone, *words = panels(figure)
    assert rendered(figure, alone) == pytest.approx(GREY / 255, abs=0.02)
    for ax, (row, column) in zip(words, ((0, 5), (3, 1)), strict=True):
        seen = shares(figure, ax)
        height, width = seen.shape
        y, x = np.unravel_index(seen.argmax(), seen.shape)
        assert int(y / height * 4) == row and int(x / width * 6) == column
        assert seen.max() == pytest.approx(1, abs=0.05) and seen.min() < 0.02


def test_a_picture_is_nearly_in_grey_but_for_the_first_panel():
    image = Image.new("RGB", (64, 64), (250, 30, 30))
    weights = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    alone, seen = (
        rendered(figure, ax) for figure in [plot_caption_attention(image, ["red"], weights)] for ax in panels(figure)
    )
    assert np.ptp(alone[-9, -9]) > 0.8 and np.ptp(seen[-9, -9]) < 0.2


def test_one_scale_for_all_words_unless_asked():
    weights = torch.tensor([[0.25] * 4, [1.0, 0, 0, 0]])
    shared = plot_caption_attention(picture(), ["the", "dog"], weights)
    own = plot_caption_attention(picture(), ["the", "dog"], weights, shared_scale=False)
    assert shares(shared, panels(shared)[1]) == pytest.approx(0.25, abs=0.02)
    assert shares(own, panels(own)[1]) == pytest.approx(1, abs=0.02)
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


SOURCE = ["the", "accord", "was", "signed"]


def all_texts(figure) -> list:
    """Everything that is written on a page."""
    texts = list(figure.texts)  # its title among them
    for ax in figure.axes:
        labels = [*ax.get_xticklabels(), *ax.get_yticklabels()] if ax.axison else []
        texts += [ax.title, ax.yaxis.label, *ax.texts, *labels]
    return [text for text in texts if text.get_text() and text.get_visible()]


def assert_nothing_is_clipped(figure) -> None:
    FigureCanvasAgg(figure).draw()
    page = figure.bbox
    for text in all_texts(figure):
        box = text.get_window_extent()
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1, text.get_text()


def test_a_matrix_shows_each_weight_where_its_words_meet():
    weights = torch.zeros(3, 4)
    weights[0, 3], weights[2, 1] = 0.8, 0.4
    figure = plot_alignment(SOURCE, WORDS, weights)
    matrix = figure.axes[0]
    assert [label.get_text() for label in matrix.get_xticklabels()] == SOURCE
    assert [label.get_text() for label in matrix.get_yticklabels()] == WORDS
    seen = rendered(figure, matrix).mean(-1)
    height, width = seen.shape
    levels = [[seen[int((r + 0.4) * height / 3), int((c + 0.4) * width / 4)] for c in range(4)] for r in range(3)]
    assert np.unravel_index(np.argmin(levels), (3, 4)) == (0, 3)
    assert levels[0][3] < levels[2][1] - 0.1 and levels[2][1] < 0.8
    assert levels[1][0] > 0.98
    ends = [label.get_text() for label in figure.axes[1].get_xticklabels()]
    assert ends == ["0", "0.4", "0.8"]


@pytest.mark.parametrize("words", [1, 3, 40])
@pytest.mark.parametrize("title", [None, "a long $title " * 12])
def test_nothing_of_a_matrix_is_clipped(words, title):
    source = ["electroencephalographically", "$x_1$", "a"][: min(words, 3)] * max(words // 3, 1)
    target = ["Donaudampfschifffahrtsgesellschaft"] * words
    assert_nothing_is_clipped(plot_alignment(source, target, torch.full((words, len(source)), 0.5), title=title))


@pytest.mark.parametrize("size", [(1000, 10), (10, 1000), (1, 1)])
def test_an_image_of_extreme_shape_and_a_caption_of_one_word(size):
    figure = plot_caption_attention(picture(size), ["word"], torch.full((1, 4), 0.25))
    assert_nothing_is_clipped(figure)
    for ax in panels(figure):
        box = ax.get_position()
        width, height = box.width * figure.get_figwidth(), box.height * figure.get_figheight()
        assert 0.24 < height / width < 4.1


def test_a_grid_lies_where_the_model_saw_it():
    """Of a picture twice as wide as high the middle square was seen: its left half is the leftmost column of two."""
    across, down = torch.tensor([24.0, 48.0, 72.0]), torch.tensor([0.0, 24.0, 48.0])
    regions = torch.stack(
        [torch.stack([across[c], down[r], across[c + 1], down[r + 1]]) for r in range(2) for c in range(2)]
    )
    figure = plot_caption_attention(picture((96, 48)), ["left"], torch.tensor([[0.5, 0, 0.5, 0]]), (2, 2), regions)
    ax = panels(figure)[1]
    seen = shares(figure, ax)
    height, width = seen.shape
    row = seen[height // 2]
    assert row[int(0.3 * width)] == pytest.approx(1, abs=0.02)  # looked at
    assert row[int(0.72 * width)] < 0.02  # seen, and not looked at
    unseen = [int(0.05 * width), int(0.95 * width)]
    assert np.isnan(row[unseen]).all()
    assert rendered(figure, ax)[height // 2, unseen] == pytest.approx(unseen_over(GREY / 255), abs=0.01)


def test_a_region_of_padding_is_left_out():
    regions = torch.tensor([[0.0, 0, 32, 64], [32, 0, 64, 64], [64, 0, 64, 64]])
    figure = plot_caption_attention(picture(), ["dog"], torch.tensor([[0.0, 0.4, 0.6]]), (1, 3), regions)
    seen = shares(figure, panels(figure)[1])
    assert seen[:, : seen.shape[1] // 4].max() < 0.02
    assert seen[:, -seen.shape[1] // 4 :] == pytest.approx(0.4 / 0.6, abs=0.03)


def test_boxes_are_filled_with_their_weights():
    boxes = torch.tensor([[0.0, 0, 40, 40], [20, 20, 60, 60]])
    figure = plot_caption_attention(picture(), ["dog"], torch.tensor([[0.2, 0.8]]), regions=boxes)
    seen = shares(figure, panels(figure)[1])
    side = seen.shape[0] / 64
    assert [seen[int(at * side), int(at * side)] for at in (10, 30, 50)] == pytest.approx([0.25, 1, 1], abs=0.02)


def test_glimpses_have_their_question_and_answer_above():
    figure = plot_glimpses(picture(), "what is $it?", "a dog", torch.full((2, 4), 0.25))
    assert [ax.get_title() for ax in panels(figure)] == ["", "glimpse 1", "glimpse 2"]
    assert " ".join(figure.get_suptitle().split()) == "what is $it? \N{RIGHTWARDS ARROW} a dog"
    assert_nothing_is_clipped(figure)


@pytest.mark.parametrize("kind", ["image", "text"])
def test_two_models_on_one_scale(kind):
    high, low = torch.zeros(3, 4), torch.zeros(2, 4)
    high[0, 0], low[0, 0] = 0.9, 0.3
    answers = {
        name: {"tokens": WORDS[: len(weights)], "attentions": weights, "source_tokens": SOURCE}
        for name, weights in (("first", high), ("second", low))
    }
    figure = plot_comparison(answers, picture() if kind == "image" else None, title="both of them")
    assert_nothing_is_clipped(figure)
    assert {"first", "second", "both of them"} <= {text.get_text() for text in all_texts(figure)}
    bars = [ax for ax in figure.axes if ax.get_ylabel() == "weight"]
    assert [[label.get_text() for label in bar.get_xticklabels()] for bar in bars] == [["0", "0.45", "0.9"]] * 2
    boxes = [text.get_window_extent() for text in all_texts(figure)]
    texts = [text.get_text() for text in all_texts(figure)]
    overlapping = [
        (texts[i], texts[j])
        for i in range(len(boxes))
        for j in range(i + 1, len(boxes))
        if boxes[i].overlaps(boxes[j])
    ]
    assert not overlapping
    with pytest.raises(ValueError, match="two or more"):
        plot_comparison({"first": answers["first"]})
    with pytest.raises(ValueError, match="'second' has .* `output_attentions=True`"):
        plot_comparison({"first": answers["first"], "second": {"generated_text": "a"}})
    with pytest.raises(ValueError, match="'second' has .* neither 'tokens' nor an 'answer'"):
        plot_comparison({"first": answers["first"], "second": {"attentions": low}}, picture())


def test_maps_that_were_not_asked_for():
    without = {"first": {"attentions": None, "answer": "red"}, "second": {"attentions": None, "answer": "red"}}
    for draw in (
        lambda: plot_caption_attention(picture(), WORDS, None),
        lambda: plot_glimpses(picture(), "what ?", "red", None),
        lambda: plot_alignment(SOURCE, WORDS, None),
        lambda: plot_comparison(without, picture()),
    ):
        with pytest.raises(ValueError, match="`attentions` is None: .* `output_attentions=True`"):
            draw()


def test_models_with_known_answers_side_by_side_in_the_place_of_axes():
    """Their glimpses stand for words, their answers beside their names."""
    answers = {
        name: {"attentions": torch.full((2, 16), 1 / 16), "answer": answer, "score": 0.5}
        for name, answer in (("first", "red"), ("second", "blue"))
    }
    figure = Figure(figsize=(8, 8))
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1)
    place = below.get_position()
    assert plot_comparison(answers, picture(), ax=below) is figure
    texts = {text.get_text() for text in all_texts(figure)}
    assert {"first → red", "second → blue", "glimpse 1", "glimpse 2"} <= texts
    drawn = [ax.get_position() for ax in figure.axes if ax is not above]
    assert len(drawn) == 2 * (3 + 1)
    assert min(box.y0 for box in drawn) >= place.y0 - 1e-6 and max(box.y1 for box in drawn) <= place.y1 + 1e-6


def test_axes_are_drawn_into_and_words_shrink_with_them():
    figure = Figure(figsize=(8, 4))
    left, right = figure.subplots(1, 2)
    places = [ax.get_position() for ax in (left, right)]
    assert plot_alignment(SOURCE, WORDS, torch.full((3, 4), 0.25), ax=left) is figure
    before = list(figure.axes)
    plot_caption_attention(picture(), WORDS * 2, torch.full((6, 4), 0.25), max_columns=4, ax=right)
    drawn = [ax for ax in figure.axes if ax not in before]
    for axes, place in zip(([ax for ax in before if ax is not right], drawn), places, strict=True):
        for ax in axes:
            box = ax.get_position()
            assert place.x0 - 1e-6 <= box.x0 and box.x1 <= place.x1 + 1e-6
            assert place.y0 - 1e-6 <= box.y0 and box.y1 <= place.y1 + 1e-6
    assert_nothing_is_clipped(figure)
    assert max(ax.title.get_fontsize() for ax in drawn if ax.get_title()) < 11


def test_more_words_than_fit():
    small = Figure(figsize=(2, 2)).subplots()
    with pytest.raises(ValueError, match="do not fit: the picture needs .* larger figure, or fewer words"):
        plot_alignment(["word"] * 80, ["word"] * 80, torch.full((80, 80), 0.1), ax=small)
    with pytest.raises(ValueError, match="more than can be drawn: pass fewer words"):
        plot_alignment(["word"] * 2, ["word"] * 2000, torch.full((2000, 2), 0.1))


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_saving(kind):
    figure = plot_alignment(SOURCE, WORDS, torch.full((3, 4), 0.25))
    file = io.BytesIO()
    figure.savefig(file, format=kind)
    assert file.getvalue().startswith(b"\x89PNG" if kind == "png" else b"<?xml")


def test_a_strip_of_twelve_words_is_quick():
    started = time.process_time()
    figure = plot_caption_attention(picture((500, 375)), WORDS * 4, torch.rand(12, 196) / 196)
    figure.savefig(io.BytesIO(), format="png")
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot_alignment(SOURCE, WORDS, torch.ones(3, 5)), "here (3, 4), got (3, 5)"),
        (lambda: plot_alignment([], WORDS, torch.ones(3, 0)), "here (3, 0), got (3, 0)"),
        (lambda: plot_alignment(SOURCE, WORDS, torch.ones(3, 4), highest=0.5), "`highest` must be at least"),
        (
            lambda: plot_caption_attention(picture(), WORDS, torch.ones(3, 4), regions=torch.ones(3, 4)),
            "`regions` must have shape (4, 4), got (3, 4)",
        ),
    ],
)
def test_wrong_arguments_of_the_others_are_named(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
