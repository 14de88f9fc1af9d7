"""Where a model looked, as one HTML file that stands alone: hovering over a word lights what it looked at."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Sequence

import torch
from PIL import Image

from ..models.pictures import as_rgb


# Nothing is fetched: style, script and picture are within. A word is a button, so that keyboard and finger reach it.
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline';
 script-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ font: 18px/1.6 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 44rem;
 margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.1rem; font-weight: 600; overflow-wrap: anywhere; }}
button, .source span {{ font: inherit; color: inherit; border: 0; border-radius: .3rem; padding: .1rem .35rem;
 margin: .1rem 0; display: inline-block; max-width: 100%; overflow-wrap: anywhere; }}
button {{ background: #eef1f5; cursor: pointer; }}
button.on {{ background: #1a1a1a; color: #fff; }}
button:focus-visible {{ outline: 3px solid #2171b5; }}
svg {{ width: 100%; max-height: 70vh; display: block; margin: 1rem 0; }}
figure {{ margin: 0; }}
#scale {{ color: #555; font-size: .85rem; min-height: 1.5em; }}
</style>
</head>
<body>
<h1 dir="auto">{title}</h1>
<figure>{seen}</figure>
<p class="target" dir="auto">{words}</p>
<p id="scale" aria-live="polite">Point at a word, or tap it, to see where the model looked.</p>
<script>
const weights = {weights}, highest = {highest};
const words = [...document.querySelectorAll("button")], regions = [...document.querySelectorAll("[data-region]")];
const veil = document.getElementById("veil");
let held = null;
function show(number) {{
  words.forEach((word, other) => word.classList.toggle("on", other === number));
  if (veil) veil.style.display = number === null ? "none" : "";
  regions.forEach((region, position) => {{
    const share = number === null ? 0 : weights[number][position] / highest;
    if (veil) region.setAttribute("fill-opacity", share);
    else {{
      region.style.background = `rgba(33, 113, 181, ${{share}})`;
      region.style.color = share > .55 ? "#fff" : "";
      region.title = number === null ? "" : weights[number][position].toFixed(3);
    }}
  }});
  if (number !== null) document.getElementById("scale").textContent =
    `largest weight ${{Math.max(...weights[number]).toFixed(3)}}; {scale} at ${{highest.toFixed(3)}}, ` +
    `the largest of all words`;
}}
words.forEach((word, number) => {{
  word.addEventListener("mouseenter", () => show(number));
  word.addEventListener("mouseleave", () => show(held));
  word.addEventListener("focus", () => show(number));
  word.addEventListener("blur", () => show(held));
  word.addEventListener("click", () => {{ held = held === number ? null : number; show(number); }});
}});
show(null);
</script>
</body>
</html>
"""
_LONGEST_SIDE = 1024


def attention_page(
    tokens: Sequence[str],
    attentions: torch.Tensor,
    image: Image.Image | None = None,
    regions: torch.Tensor | None = None,
    source_tokens: Sequence[str] | None = None,
    title: str = "Where the model looked",
) -> str:
    """
    Makes an HTML file of an answer. It needs no other file and no network.

    Args:
        tokens (`Sequence[str]`):
            The words that the model wrote. [`merge_words`] makes words of sub-words.
        attentions (`torch.Tensor` of shape `(len(tokens), positions)`):
            Their maps: weights from zero to one.
        image (`PIL.Image.Image`, *optional*):
            What was looked at: the picture is dark, and bright where the word's weight is, linear up to the largest
            weight of all words.
        regions (`torch.Tensor` of shape `(positions, 4)`, *optional*):
            Needed with `image`: left, top, right and bottom of each region in its pixels, as a pipeline returns them.
        source_tokens (`Sequence[str]`, *optional*):
            In place of `image`: the words that were looked at, coloured likewise.
        title (`str`, *optional*):
            The page's.

    Returns:
        `str`: the page, to be written in UTF-8.

    Raises:
        ValueError: Where not exactly one of `image` and `source_tokens` is given, or shapes do not fit.

    Example:

    ```python
    >>> [answer] = captioner(image, output_attentions=True)
    >>> page = attention_page(answer["tokens"], answer["attentions"], image, answer["regions"])
    >>> Path("where.html").write_text(page, encoding="utf-8")
    ```
    """
    if (image is None) == (source_tokens is None):
        raise ValueError("Pass exactly one of `image` and `source_tokens`.")
    if attentions is None:
        raise ValueError("`attentions` is None: call the model or its pipeline with `output_attentions=True`.")
    weights = torch.as_tensor(attentions).detach().float().cpu()
    positions = weights.shape[-1] if source_tokens is None else len(source_tokens)
    if weights.shape != (len(tokens), positions) or not weights.numel():
        raise ValueError(
            f"`attentions` must have a row a token and a column a position, here ({len(tokens)}, {positions}), got "
            f"{tuple(weights.shape)}."
        )
    if not weights.isfinite().all() or weights.min() < 0:
        raise ValueError("`attentions` must be finite and not negative.")
    if image is None:
        spans = (f'<span data-region dir="auto">{html.escape(token)}</span>' for token in source_tokens)
        seen, scale = f'<p class="source" dir="auto">{" ".join(spans)}</p>', "darkest"
    else:
        shape = None if regions is None else tuple(torch.as_tensor(regions).shape)
        if shape != (positions, 4):
            raise ValueError(f"`regions` must have shape ({positions}, 4) beside `image`, got {shape}.")
        seen, scale = _draw_image(image, torch.as_tensor(regions).tolist()), "brightest"
    return _PAGE.format(
        title=html.escape(title),
        seen=seen,
        words=" ".join(f'<button type="button" dir="auto">{html.escape(token)}</button>' for token in tokens),
        weights=json.dumps([[round(weight, 5) for weight in row] for row in weights.tolist()]),
        highest=json.dumps(float(weights.max()) or 1.0),
        scale=scale,
    )


def _draw_image(image: Image.Image, regions: list[list[float]]) -> str:
    """The picture under a veil, which has a hole as deep as its weight for each region."""
    image = as_rgb(image)
    width, height = image.size
    image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=88)
    data = base64.b64encode(file.getvalue()).decode()
    holes = "".join(
        f'<rect data-region x="{left:.2f}" y="{top:.2f}" width="{right - left:.2f}" height="{bottom - top:.2f}"/>'
        for left, top, right, bottom in regions
    )
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="The picture">'
        f'<mask id="holes"><rect width="{width}" height="{height}" fill="white"/>'
        f'<g fill="black" shape-rendering="crispEdges">{holes}</g></mask>'
        f'<image href="data:image/jpeg;base64,{data}" width="{width}" height="{height}" preserveAspectRatio="none"/>'
        f'<rect id="veil" width="{width}" height="{height}" fill="#00000d" fill-opacity="0.75" mask="url(#holes)"/>'
        "</svg>"
    )
