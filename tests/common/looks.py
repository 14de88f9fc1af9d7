"""Reading what an HTML look shows, without a browser."""

import base64
import io
from html.parser import HTMLParser

import numpy as np
from PIL import Image

from common.overlays import shares_seen


VOID = ("br", "img", "input", "meta")


class Look(HTMLParser):
    """The words of a look, and what each lays over the picture or the sentence; `elements` are all that a page has."""

    def __init__(self, text: str):
        super().__init__()
        self.words: list[str] = []
        self.source: list[str] = []
        self.maps: list[Image.Image] = []
        self.weights: list[list[float]] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[tuple[str, list[str]]] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attributes: list) -> None:
        attributes = dict(attributes)
        self.elements.append((tag, attributes))
        names = (attributes.get("class") or "").split()
        if tag == "img" and "map" in names:
            data = base64.b64decode(attributes["src"].partition(",")[2])
            self.maps.append(Image.open(io.BytesIO(data)))
        if tag == "b":
            self.words.append("")
        if "layer" in names:
            self.weights.append([])
        if tag == "span" and self._is_in("layer"):
            self.weights[-1].append(float((attributes.get("style") or "--weight: 0").partition(": ")[2]))
        if tag == "span" and self._is_in("sentence") and not self._is_in("layer"):
            self.source.append("")
        if tag not in VOID:
            self._open.append((tag, names))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        tag = self._open[-1][0] if self._open else None
        if tag == "b":
            self.words[-1] += data
        if tag == "i" and self._is_in("sentence") and not self._is_in("layer"):
            self.source[-1] += data

    def _is_in(self, name: str) -> bool:
        return any(name in names for _, names in self._open)


def shares(layer: Image.Image) -> np.ndarray:
    """
    Weights as shares of the largest on the scale, read off what Pillow lays over a middle grey; NaN where the model
    was shown nothing.
    """
    seen = Image.alpha_composite(Image.new("RGBA", layer.size, (128, 128, 128, 255)), layer.convert("RGBA"))
    return shares_seen(np.asarray(seen.convert("RGB")) / 255, 128 / 255)
