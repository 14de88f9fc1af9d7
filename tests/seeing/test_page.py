import numpy as np
import pytest
import torch
from common.looks import Look, shares
from PIL import Image

from hf_attention.seeing import attention_page


REGIONS = torch.tensor([[0.0, 0, 20, 30], [20, 0, 40, 30]])
WEIGHTS = torch.tensor([[0.25, 0.75], [1.0, 0.0]])


def test_a_page_of_a_picture_has_a_word_a_row_and_a_map_a_word():
    page = Look(attention_page(["a", 'd<o>g & "co"'], WEIGHTS, Image.new("RGB", (40, 30)), REGIONS, title="<b>"))
    assert page.words == ["the picture", "a", 'd<o>g & "co"']
    seen = np.array([shares(layer)[10, [5, -5]] for layer in page.maps])
    assert seen == pytest.approx(WEIGHTS.numpy(), abs=0.01)  # the largest of all is 1


def test_a_page_of_a_grid_runs_smoothly_from_middle_to_middle():
    image = Image.new("RGB", (40, 30))
    edged, smooth = (
        shares(Look(attention_page(["a"], WEIGHTS[1:], image, REGIONS, grid)).maps[0])[10].tolist()
        for grid in (None, (1, 2))
    )
    assert len(set(edged)) == 2 and len(set(smooth)) > 20 and smooth == sorted(smooth, reverse=True)


def test_a_page_of_a_text_has_its_source():
    page = Look(attention_page(["ein", "Hund"], 0.5 * WEIGHTS.numpy(), source_tokens=["a", "</s>"]))
    assert page.words == ["the sentence", "ein", "Hund"]
    assert page.source == ["a", "</s>"]
    unmarked, *weights = page.weights  # of the largest of all
    assert unmarked == [0, 0] and weights == WEIGHTS.tolist()


def test_a_page_stands_alone():
    """Whatever would be fetched is in the page itself, nothing runs, and the browser is told so."""
    text = attention_page(["a", "b"], WEIGHTS, Image.new("RGB", (3000, 2000)), REGIONS)
    elements = Look(text).elements
    addresses = [
        value
        for _, attributes in elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "data", "action")
    ]
    assert len(addresses) == 3 and all(address.startswith("data:image/") for address in addresses)
    assert not any(tag in ("script", "link", "form") for tag, _ in elements)
    assert not any(name.startswith("on") for _, attributes in elements for name in attributes)
    assert "url(" not in text and "@import" not in text and "http" not in text.replace("http-equiv", "")
    assert "default-src 'none'" in text and "script-src" not in text
    assert len(text) < 200_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one of `image` and `source_tokens`"),
        ({"image": Image.new("RGB", (4, 4)), "source_tokens": ["a", "b"]}, "exactly one"),
        ({"image": Image.new("RGB", (4, 4))}, r"`regions` must have shape \(2, 4\) beside `image`, got None"),
        ({"image": Image.new("RGB", (4, 4)), "regions": REGIONS, "grid": (2, 2)}, r"`grid` must be .* of 2 regions"),
        ({"source_tokens": ["a"]}, r"here \(2, 1\), got \(2, 2\)"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        attention_page(["a", "b"], WEIGHTS, **arguments)
    with pytest.raises(ValueError, match="finite"):
        attention_page(["a", "b"], WEIGHTS * torch.nan, source_tokens=["a", "b"])
    with pytest.raises(ValueError, match="`attentions` is None"):
        attention_page(["a", "b"], None, source_tokens=["a", "b"])
