"""
Where a model looked, as HTML without a script: pointing at a word, or choosing it, shows what it looked at.

Every word is a radio button, so a mouse, a finger and the arrow keys all choose, and a screen reader can tell.
"""

import base64
import html
import io
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from ..models.pictures import as_rgb
from ..seeing.region_maps import spread_weights


# Pixels: pictures are shown no larger, and maps, which are smooth, are sent so large and stretched by the browser.
_PICTURE_SIDE = 768
_MAP_SIDE = 128
# Grey and opacity, 0 to 255: where the weight is zero, and where the model was shown nothing.
_DARK = (8, 199)
_UNSEEN = (190, 230)

STYLE = """
.look { position: relative; container-type: inline-size; line-height: 1.4; color: var(--body-text-color);
  --width: min(100cqw, 60vh * var(--ratio)); }
.look .picture, .look .map { width: var(--width) !important; aspect-ratio: var(--ratio); max-width: none;
  margin: 0 !important; border-radius: 10px; display: block; }
.look .map, .look .layer { position: absolute; left: 0; top: 0; opacity: 0; pointer-events: none;
  transition: opacity 0.15s; }
.look .sentence { width: 100%; display: flex; flex-wrap: wrap; gap: 0.3rem; font-size: 1.1rem; color: transparent; }
.look.on-picture .sentence { margin-top: 0.8rem; }
.look.on-picture .layer { top: calc(var(--width) / var(--ratio)); }
.look .sentence span { padding: 0.15rem 0.4rem; border-radius: 6px; text-align: center; max-width: 100%;
  overflow-wrap: anywhere; color: inherit;
  background: color-mix(in srgb, var(--look-colour) calc(100% * var(--weight, 0)), transparent); }
.look .sentence small { display: block; font-size: 0.7rem; line-height: 1.2; height: 1.2em; min-width: 2.4rem; }
.look .layer { color: var(--body-text-color); }
.look .layer small { opacity: 0.8; }
.look .layer .strong { color: #1c1917; }
.look .words { display: flex; flex-wrap: wrap; gap: 0.4rem; margin: 1rem 0 0; padding: 0; min-width: 0; }
.look .words label { max-width: 100%; }
.look .words input { position: absolute; opacity: 0; width: 1px; height: 1px; }
.look .words b { display: block; font-weight: 500; font-size: 1.05rem; padding: 0.4rem 0.75rem; border-radius: 999px;
  cursor: pointer; border: 1px solid var(--border-color-primary); background: var(--background-fill-primary);
  color: inherit; overflow-wrap: anywhere; }
.look .words .mark b { font-style: italic; font-weight: 400; color: var(--body-text-color-subdued); }
.look .words :checked ~ b { background: var(--look-colour); border-color: var(--look-colour); color: #1c1917; }
.look .words :focus-visible ~ b { outline: 2px solid var(--body-text-color); outline-offset: 2px; }
.look .words :checked ~ .map, .look .words :checked ~ .layer { opacity: 1; }
.look .scale { display: flex; align-items: center; gap: 0.5rem; margin-top: 1rem; font-size: 0.8rem;
  color: var(--body-text-color-subdued); }
.look .scale i { width: 7rem; height: 0.6rem; border-radius: 3px; border: 1px solid var(--border-color-primary);
  background: linear-gradient(90deg, var(--look-from), var(--look-to)); }
@media (hover: hover) {
  .look .words label:hover b { background: var(--look-colour); border-color: var(--look-colour); color: #1c1917; }
  .look .words label:hover .map, .look .words label:hover .layer { opacity: 1; }
  .look .words:has(label:hover) label:not(:hover) :is(.map, .layer) { opacity: 0; }
  .look .words:has(label:hover) label:not(:hover) :checked ~ b { background: none; color: inherit; }
}
"""


@dataclass(frozen=True)
class View:
    """
    What lies under the words, and what each of them lays over it.

    Args:
        stage (`str`): HTML of a picture or a sentence.
        layers (`list[str]`): HTML, one a word.
        scale (`str`): HTML that says what the shades mean.
        ratio (`float`, *optional*): Width by height, of a picture.
    """

    stage: str
    layers: list[str]
    scale: str
    ratio: float | None = None


def picture_view(image: Image.Image, boxes: torch.Tensor, grid: tuple[int, int], weights: torch.Tensor) -> View:
    """
    A picture that is bright where a word's step looked.

    The brightness is linear in the weight, from none to the largest weight of all words, and interpolated between the
    middles of the regions. A veil of grey lies over what the model was not shown, cropped away.

    Args:
        image (`PIL.Image.Image`): The picture.
        boxes (`torch.Tensor` of shape `(regions, 4)`), grid (`tuple[int, int]`):
            Where its regions lie, as [`~hf_attention.models.regions.ImageRegions`] tells.
        weights (`torch.Tensor` of shape `(words, regions)`): From zero to one.

    Returns:
        [`View`]
    """
    image = as_rgb(image)
    highest = max(float(weights.max()), 1e-12)
    layers = []
    for row in weights.double().numpy() / highest:
        brightness = spread_weights(row, grid, boxes.numpy(), image.size, _MAP_SIDE)
        is_seen = ~np.isnan(brightness)
        grey = np.where(is_seen, _DARK[0], _UNSEEN[0])
        opacity = np.where(is_seen, _DARK[1] * (1 - brightness), _UNSEEN[1])
        bands = [Image.fromarray(np.rint(band).astype(np.uint8)) for band in (grey, opacity)]
        layers.append(f'<img class="map" alt="" src="{_data_uri(Image.merge("LA", bands), "PNG")}">')
    shown = image.copy()
    shown.thumbnail((_PICTURE_SIDE, _PICTURE_SIDE))
    if max(image.size) <= _PICTURE_SIDE / 2:
        source = _data_uri(image, "PNG")
    else:
        source = _data_uri(shown, "JPEG")
    stage = f'<img class="picture" alt="The picture" src="{source}">'
    return View(stage, layers, _scale("rgb(8 8 20)", "rgb(250 250 250)", f"{highest:.2g}"), image.width / image.height)


def sentence_view(words: Sequence[str], weights: torch.Tensor) -> View:
    """
    A sentence whose words are marked as strongly as a generated word's step looked at them, from 0 to 100 %.

    Args:
        words (`Sequence[str]`): Of the sentence.
        weights (`torch.Tensor` of shape `(generated words, words)`): From zero to one.

    Returns:
        [`View`]
    """
    layers = [_sentence(words, row, "sentence layer") for row in weights.tolist()]
    return View(_sentence(words, None, "sentence"), layers, _scale("transparent", "var(--look-colour)", "100 %"))


def look_html(words: Sequence[str], views: Sequence[View], marks: Sequence[bool], label: str) -> str:
    """
    Words over what they looked at.

    Args:
        words (`Sequence[str]`): What the model wrote.
        views (`Sequence[View]`): What it looked at: a picture, a sentence, or a picture and a sentence below it.
        marks (`Sequence[bool]`): Which of them are marks, such as that of the end, and no words.
        label (`str`): What the words are, for a screen reader.

    Returns:
        `str`: HTML. Its page needs [`STYLE`].
    """
    name = f"look-{uuid.uuid4().hex}"
    choices = []
    for number, (word, is_mark) in enumerate(zip(words, marks, strict=True)):
        layers = "".join(view.layers[number] for view in views)
        choices.append(
            f'<label{" class=mark" if is_mark else ""}><input type="radio" name="{name}"'
            f"{' checked' if number == 0 else ''}><b dir=auto>{html.escape(word)}</b>{layers}</label>"
        )
    ratio = next((view.ratio for view in views if view.ratio is not None), None)
    start = '<div class="look">' if ratio is None else f'<div class="look on-picture" style="--ratio: {ratio:.5f}">'
    stages, scales = ("".join(getattr(view, part) for view in views) for part in ("stage", "scale"))
    return (
        f'{start}{stages}<div class="words" role="radiogroup" aria-label="{html.escape(label)}">'
        f"{''.join(choices)}</div>{scales}</div>"
    )


def _data_uri(image: Image.Image, kind: str) -> str:
    file = io.BytesIO()
    image.save(file, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def _sentence(words: Sequence[str], weights: Sequence[float] | None, names: str) -> str:
    spans = []
    for number, word in enumerate(words):
        weight = 0.0 if weights is None else weights[number]
        percent = f"{100 * weight:.0f} %" if weight >= 0.005 else ""
        strong = ' class="strong"' if weight > 0.4 else ""
        style = f' style="--weight: {weight:.3f}"' if weight else ""
        spans.append(f"<span{strong}{style}><bdi>{html.escape(word)}</bdi><small>{percent}</small></span>")
    hidden = "" if weights is None else ' aria-hidden="true"'
    return f'<div class="{names}" dir="auto"{hidden}>{"".join(spans)}</div>'


def _scale(lowest: str, highest: str, value: str) -> str:
    return f'<div class="scale" style="--look-from: {lowest}; --look-to: {highest}">weight 0<i></i>{value}</div>'
