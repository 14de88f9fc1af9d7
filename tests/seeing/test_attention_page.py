import json
import re
from html.parser import HTMLParser

import pytest
import torch
from PIL import Image

from hf_attention.seeing import attention_page


class Elements(HTMLParser):
    """The elements of a page, each with its attributes and the text that it begins with."""

    def __init__(self, page: str):
        super().__init__()
        self.elements: list[tuple[str, dict, str]] = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), ""))

    def handle_data(self, data):
        if self.elements:
            tag, attributes, text = self.elements[-1]
            self.elements[-1] = tag, attributes, text + data

    def all(self, tag: str) -> list[tuple[dict, str]]:
        return [(attributes, text) for name, attributes, text in self.elements if name == tag]


REGIONS = torch.tensor([[0.0, 0, 20, 30], [20, 0, 40, 30]])
WEIGHTS = torch.tensor([[0.25, 0.75], [1.0, 0.0]])


def weights_in(page: str) -> list:
    return json.loads(re.search(r"const weights = (.*?), highest", page)[1])


def test_a_page_of_a_picture_has_a_word_a_row_and_a_rectangle_a_region():
    page = attention_page(["a", 'd<o>g & "co"'], WEIGHTS, Image.new("RGB", (40, 30)), REGIONS, title="<b>")
    elements = Elements(page)
    assert [text.strip() for _, text in elements.all("button")] == ["a", 'd<o>g & "co"']
    rectangles = [attributes for attributes, _ in elements.all("rect") if "data-region" in attributes]
    assert [(float(r["x"]), float(r["y"]), float(r["width"]), float(r["height"])) for r in rectangles] == [
        (0, 0, 20, 30),
        (20, 0, 20, 30),
    ]
    assert weights_in(page) == WEIGHTS.tolist()
    assert not elements.all("b")


def test_a_page_of_a_text_has_its_source():
    page = attention_page(["ein", "Hund"], WEIGHTS, source_tokens=["a", "</s>"])
    sources = [text.strip() for attributes, text in Elements(page).all("span") if "data-region" in attributes]
    assert sources == ["a", "</s>"]


def test_a_page_stands_alone():
    """Whatever would be fetched is in the page itself, and the browser is told to fetch nothing else."""
    page = attention_page(["a", "b"], WEIGHTS, Image.new("RGB", (3000, 2000)), REGIONS)
    elements = Elements(page)
    addresses = [
        value
        for _, attributes, _ in elements.elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "data", "action")
    ]
    assert len(addresses) == 1 and addresses[0].startswith("data:image/jpeg;base64,")
    assert (
        "url(" not in page.replace("url(#holes)", "")
        and "@import" not in page
        and "http" not in page.replace("http-equiv", "")
    )
    assert "default-src 'none'" in page
    assert len(page) < 200_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one of `image` and `source_tokens`"),
        ({"image": Image.new("RGB", (4, 4)), "source_tokens": ["a", "b"]}, "exactly one"),
        ({"image": Image.new("RGB", (4, 4))}, r"`regions` must have shape \(2, 4\) beside `image`, got None"),
        ({"source_tokens": ["a"]}, r"here \(2, 1\), got \(2, 2\)"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        attention_page(["a", "b"], WEIGHTS, **arguments)
    with pytest.raises(ValueError, match="finite"):
        attention_page(["a", "b"], WEIGHTS * torch.nan, source_tokens=["a", "b"])
