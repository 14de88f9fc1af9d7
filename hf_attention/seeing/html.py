"""
Where a model looked, as HTML without a script: pointing at a word, or choosing it, shows what it looked at.

Every word is a radio button, so a mouse, a finger and the arrow keys all choose, and a screen reader can tell. Text
runs as it is read: the direction of a sentence is that of its first letter.
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
from .overlay import GREYNESS, overlay, scale_colours
from .region_maps import spread_weights


# Pixels: pictures are shown no larger, and maps are sent so large and stretched by the browser. Those of grids are
# smooth, those of boxes have edges.
_PICTURE_SIDE = 1024
_GRID_SIDE, _BOXES_SIDE = 128, 512
# A map's bytes are places in a palette: from no weight to the largest of all words, and what the model was not shown.
_UNSEEN = 255
_PALETTE = np.rint(255 * overlay(np.append(np.linspace(0, 1, _UNSEEN), np.nan))).astype(np.uint8)
_SCALE = np.rint(255 * scale_colours(11)).astype(np.uint8)

MARK = "#f6a821"  # what is chosen, and how much was looked at it

# Other colours are those of the page around, where it is one of gradio's.
# A layer of words that is not shown is not laid out: of hundreds of words that takes a browser many seconds.
STYLE = (
    f".look {{ --mark: {MARK}; --greyness: {GREYNESS}; }}"
    + """
.look { position: relative; container-type: inline-size; line-height: 1.4; --width: min(100cqw, 60vh * var(--ratio));
  --on-mark: #1c1917; --ink: var(--body-text-color, #1c1917);
  --pale-ink: var(--body-text-color-subdued, #57534e); --line: var(--border-color-primary, #d6d3d1);
  --paper: var(--background-fill-primary, #fff); color: var(--ink); }
.look .picture, .look .map { width: var(--width) !important; aspect-ratio: var(--ratio); max-width: none;
  margin: 0 !important; border-radius: 10px; display: block; }
.look .largest { padding: 0.1rem 0.5rem; margin: 0.4rem; border-radius: 6px; font-size: 0.75rem; color: #fff;
  background: rgb(0 0 0 / 60%); }
.look .map, .look .layer, .look .largest { position: absolute; left: 0; top: 0; opacity: 0; pointer-events: none;
  transition: opacity 0.15s; }
.look .map { -webkit-backdrop-filter: grayscale(var(--greyness)); backdrop-filter: grayscale(var(--greyness)); }
.look .boxes { image-rendering: pixelated; }
.look .sentence { width: 100%; display: flex; flex-wrap: wrap; gap: 0.3rem; font-size: 1.1rem; color: transparent; }
.look.on-picture .sentence { margin-top: 0.8rem; }
.look.on-picture .layer { top: calc(var(--width) / var(--ratio)); }
.look .sentence span { padding: 0.15rem 0.4rem; border-radius: 6px; text-align: center; max-width: 100%;
  overflow-wrap: anywhere; color: inherit;
  background: color-mix(in srgb, var(--mark) calc(100% * var(--weight, 0)), transparent); }
.look .sentence :is(i, small) { color: inherit; }
.look .sentence i { font-style: normal; display: block; unicode-bidi: plaintext; }
.look .sentence small { display: block; font-size: 0.7rem; line-height: 1.2; height: 1.2em; min-width: 2.4rem;
  direction: ltr; }
.look .layer { color: var(--ink); }
.look .sentence.layer { display: none; }
.look .words :checked ~ .layer { display: flex; }
.look .layer small { opacity: 0.8; }
.look .layer .strong { color: var(--on-mark); }
.look .words { display: flex; flex-wrap: wrap; gap: 0.4rem; margin: 1rem 0 0; padding: 0; min-width: 0; }
.look .words label { max-width: 100%; }
.look .words input { position: absolute; opacity: 0; width: 1px; height: 1px; }
.look .words b { display: block; font-weight: 500; font-size: 1.05rem; padding: 0.4rem 0.75rem; border-radius: 999px;
  cursor: pointer; border: 1px solid var(--line); background: var(--paper); color: inherit; overflow-wrap: anywhere;
  unicode-bidi: plaintext; }
.look .words .mark b { font-style: italic; font-weight: 400; color: var(--pale-ink); }
.look .words :checked ~ b { background: var(--mark); border-color: var(--mark); color: var(--on-mark); }
.look .words :focus-visible ~ b { outline: 2px solid var(--ink); outline-offset: 2px; }
.look .words :checked ~ :is(.map, .layer, .largest) { opacity: 1; }
.look .scale { display: flex; align-items: center; gap: 0.5rem; margin-top: 1rem; font-size: 0.8rem;
  color: var(--pale-ink); }
.look .scale i { width: 10rem; height: 0.6rem; border-radius: 3px; border: 1px solid var(--line);
  background: linear-gradient(90deg, var(--look-scale)); }
@media (hover: hover) {
  .look .words label:hover b { background: var(--mark); border-color: var(--mark); color: var(--on-mark); }
  .look .words label:hover :is(.map, .layer, .largest) { opacity: 1; }
  .look .words label:hover .layer { display: flex; }
  .look .words:has(label:hover) label:not(:hover) :is(.map, .layer, .largest) { opacity: 0; }
  .look .words:has(label:hover) label:not(:hover) :checked ~ b { background: none; color: inherit; }
}
"""
)


@dataclass(frozen=True)
class View:
    """
    What lies under the words, and what each of them lays over it.

    Args:
        stage (`str`): HTML of a picture or a sentence.
        layers (`list[str]`): HTML, one a word.
        largest (`list[float]`): The largest weight of each word.
        scale (`str`): HTML that says what the shades mean.
        ratio (`float`, *optional*): Width by height, of a picture.
        unmarked (`str`, *optional*): HTML of a layer without a weight, where the stage alone shows nothing.
    """

    stage: str
    layers: list[str]
    largest: list[float]
    scale: str
    ratio: float | None = None
    unmarked: str = ""


def picture_view(image: Image.Image, boxes: torch.Tensor, grid: tuple[int, int] | None, weights: torch.Tensor) -> View:
    """
    Shows a picture that is nearly in grey under a chosen word, and coloured where the word's step looked.

    The colours are those of [`~hf_attention.seeing.overlay.overlay`], from no weight to the largest of all words;
    weights are interpolated between the middles of the regions of a grid. What the model was not shown, cropped away,
    is nearly white.

    Args:
        image (`PIL.Image.Image`): The picture.
        boxes (`torch.Tensor` of shape `(regions, 4)`):
            Where its regions lie, as [`~hf_attention.models.regions.ImageRegions`] tells.
        grid (`tuple[int, int]`, *optional*):
            Their rows and columns. Without it they are boxes anywhere, each filled with its weight, with the largest
            where several lie.
        weights (`torch.Tensor` of shape `(words, regions)`): From zero to one.

    Returns:
        [`View`]
    """
    image = as_rgb(image)
    highest = max(float(weights.max()), 1e-12)
    largest = weights.amax(1).tolist()
    names, side = ("map", _GRID_SIDE) if grid is not None else ("map boxes", _BOXES_SIDE)
    layers = []
    for row, weight in zip(weights.double().numpy() / highest, largest, strict=True):
        shares = spread_weights(row, grid, boxes.numpy(), image.size, side)
        places = np.where(np.isnan(shares), _UNSEEN, np.rint((_UNSEEN - 1) * shares)).astype(np.uint8)
        layer = Image.fromarray(places)
        layer.putpalette(_PALETTE[:, :3].tobytes())
        layers.append(
            f'<img class="{names}" alt="" src="{_data_uri(layer, "PNG", transparency=_PALETTE[:, 3].tobytes())}">'
            f'<small class="largest" aria-hidden="true">{_largest(weight)}</small>'
        )
    if max(image.size) <= _PICTURE_SIDE / 2:
        source = _data_uri(image, "PNG")
    else:
        shown = image.copy()
        shown.thumbnail((_PICTURE_SIDE, _PICTURE_SIDE))
        source = _data_uri(shown, "JPEG", quality=88)
    return View(
        f'<img class="picture" alt="The picture" src="{source}">',
        layers,
        largest,
        _scale([f"rgb({red} {green} {blue})" for red, green, blue in _SCALE.tolist()], f"{highest:.2g}"),
        image.width / image.height,
    )


def sentence_view(words: Sequence[str], weights: torch.Tensor, highest: float = 1.0) -> View:
    """
    Shows a sentence whose words are marked as strongly as a generated word's step looked at them.

    Args:
        words (`Sequence[str]`): Of the sentence.
        weights (`torch.Tensor` of shape `(generated words, words)`): From zero to one.
        highest (`float`, *optional*, defaults to 1.0): The weight that is marked most strongly.

    Returns:
        [`View`]
    """
    return View(
        _sentence(words, None, highest),
        [_sentence(words, row, highest) for row in weights.tolist()],
        weights.amax(1).tolist(),
        _scale(["transparent", "var(--mark)"], f"{100 * highest:.0f} %"),
        unmarked=_sentence(words, [0.0] * len(words), highest),
    )


def look_html(
    words: Sequence[str], views: Sequence[View], marks: Sequence[bool], label: str, nothing: str | None = None
) -> str:
    """
    Writes words over what they looked at.

    Args:
        words (`Sequence[str]`): What the model wrote.
        views (`Sequence[View]`): What it looked at: a picture, a sentence, or a picture and a sentence below it.
        marks (`Sequence[bool]`): Which of them are marks, such as that of the end, and no words.
        label (`str`): What the words are, for a screen reader.
        nothing (`str`, *optional*):
            Name of a choice in front of them, made at first, that marks nothing. Without it the first word is
            chosen.

    Returns:
        `str`: HTML. Its page needs [`STYLE`].
    """
    name = f"look-{uuid.uuid4().hex}"
    choices = []
    if nothing is not None:
        layers = "".join(view.unmarked for view in views)
        choices.append(
            f'<label class="mark"><input type="radio" name="{name}" checked><b dir="ltr">{html.escape(nothing)}</b>'
            f"{layers}</label>"
        )
    for number, (word, is_mark) in enumerate(zip(words, marks, strict=True)):
        layers = "".join(view.layers[number] for view in views)
        choices.append(
            f'<label{" class=mark" if is_mark else ""}><input type="radio" name="{name}"'
            f' title="{_largest(views[0].largest[number])}"{"" if choices else " checked"}>'
            f"<b>{html.escape(word)}</b>{layers}</label>"
        )
    ratio = next((view.ratio for view in views if view.ratio is not None), None)
    start = '<div class="look">' if ratio is None else f'<div class="look on-picture" style="--ratio: {ratio:.5f}">'
    stages, scales = ("".join(getattr(view, part) for view in views) for part in ("stage", "scale"))
    return (
        f'{start}{stages}<div class="words" dir="auto" role="radiogroup" aria-label="{html.escape(label)}">'
        f"{''.join(choices)}</div>{scales}</div>"
    )


def _data_uri(image: Image.Image, kind: str, **options: int | bytes) -> str:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def _largest(weight: float) -> str:
    return f"largest weight {weight:.3f}"


def _sentence(words: Sequence[str], weights: Sequence[float] | None, highest: float) -> str:
    spans = []
    for number, word in enumerate(words):
        weight = 0.0 if weights is None else weights[number]
        share = weight / highest
        percent = f"{100 * weight:.0f} %" if weight >= 0.005 else ""
        strong = ' class="strong"' if share > 0.4 else ""
        style = f' style="--weight: {share:.3f}"' if weight else ""
        spans.append(f"<span{strong}{style}><i>{html.escape(word)}</i><small>{percent}</small></span>")
    names, hidden = ("sentence", "") if weights is None else ("sentence layer", ' aria-hidden="true"')
    return f'<div class="{names}" dir="auto"{hidden}>{"".join(spans)}</div>'


def _scale(colours: Sequence[str], highest: str) -> str:
    return f'<div class="scale" style="--look-scale: {", ".join(colours)}">weight 0<i></i>{highest}</div>'
