"""Shapes and grounds as pixels."""

import math

import numpy as np
from PIL import Image, ImageDraw


_OVERSAMPLING = 4


def shape_mask(shape: str, box: tuple[int, int, int, int], image_size: int, border: int = 0) -> Image.Image:
    """
    Tells how far a shape covers every pixel of a picture.

    Args:
        shape (`str`): One of [`~hf_attention.scenes.scene.SHAPES`].
        box (`tuple[int, int, int, int]`): Left, top, right and bottom edge in pixels; the shape touches all four.
        image_size (`int`): Side of the picture in pixels.
        border (`int`, *optional*, defaults to 0): How much of the shape's edge is left out, in quarters of a pixel.

    Returns:
        `PIL.Image.Image`: Of mode L.
    """
    scale = _OVERSAMPLING
    left, top, right, bottom = box
    # Pillow's coordinates name pixels, and the last one is drawn too.
    width, height = (right - left) * scale - 1, (bottom - top) * scale - 1
    fine = Image.new("L", (width + 1, height + 1))
    pen = ImageDraw.Draw(fine)
    if shape in ("circle", "ring", "frame"):
        draw = pen.rectangle if shape == "frame" else pen.ellipse
        draw((border, border, width - border, height - border), fill=255)
        if shape != "circle":
            rim = round(width * 0.24) - border
            draw((rim, rim, width - rim, height - rim), fill=0)
    else:
        corners = [(x * width, y * height) for x, y in _unit_outline(shape)]
        pen.polygon(corners, fill=255, outline=0 if border else 255, width=max(border, 1))
    mask = Image.new("L", (image_size, image_size))
    mask.paste(fine.reduce(scale), (left, top))
    return mask


def _unit_outline(shape: str) -> list[tuple[float, float]]:
    """Corners of a shape that has some, scaled so that they touch all four sides of the unit square."""
    if shape == "square":
        return [(0, 0), (1, 0), (1, 1), (0, 1)]
    if shape == "triangle":
        return [(0.5, 0), (1, 1), (0, 1)]
    if shape == "diamond":
        return [(0.5, 0), (1, 0.5), (0.5, 1), (0, 0.5)]
    if shape == "hourglass":
        return [(0, 0), (1, 0), (0.6, 0.5), (1, 1), (0, 1), (0.4, 0.5)]
    if shape == "arrow":
        return [(0.5, 0), (1, 0.5), (0.7, 0.5), (0.7, 1), (0.3, 1), (0.3, 0.5), (0, 0.5)]
    if shape == "cross":
        near, far = 0.34, 0.66
        corner = [(near, 0), (far, 0), (far, near), (1, near), (1, far), (far, far)]
        return corner + [(1 - x, 1 - y) for x, y in corner]
    if shape == "heart":
        angles = np.linspace(0, 2 * math.pi, 40)
        heights = 13 * np.cos(angles) - 5 * np.cos(2 * angles) - 2 * np.cos(3 * angles) - np.cos(4 * angles)
        points = np.stack([16 * np.sin(angles) ** 3, -heights], 1)
    elif shape == "crescent":
        # A disc without a smaller one to its right.
        outer, inner = np.linspace(0.3, 1.7, 30) * math.pi, np.linspace(1.5, 0.5, 30) * math.pi
        points = np.concatenate([_arc(outer, 0, 1), _arc(inner, math.cos(outer[0]), math.sin(outer[0]))])
    else:
        angles = np.arange(10) * math.pi / 5
        points = np.stack([np.sin(angles), -np.cos(angles)], 1) * np.array([1, 0.42] * 5)[:, None]
    low, high = points.min(axis=0), points.max(axis=0)
    return [tuple(point) for point in ((points - low) / (high - low)).tolist()]


def _arc(angles: np.ndarray, centre: float, radius: float) -> np.ndarray:
    return np.stack([centre + radius * np.cos(angles), radius * np.sin(angles)], 1)


def draw_ground(kind: str, size: int, rng: np.random.Generator) -> Image.Image:
    """
    Draws two muted tones mixed by a pattern, with a fine grain over them.

    Args:
        kind (`str`): One of [`~hf_attention.scenes.scene.GROUNDS`].
        size (`int`): Side of the picture in pixels.
        rng (`numpy.random.Generator`): Chooses the tones, the pattern's width and its angle.

    Returns:
        `PIL.Image.Image`: RGB.
    """
    tone = rng.uniform(70, 150) + rng.uniform(-14, 14, size=3)
    other = tone + rng.choice([-1, 1]) * rng.uniform(18, 34) + rng.uniform(-8, 8, size=3)
    rows, columns = np.mgrid[:size, :size]
    period = size * rng.uniform(0.09, 0.2)
    angle = rng.uniform(0, math.pi)
    slope = columns * math.cos(angle) + rows * math.sin(angle)
    if kind == "striped":
        mix = (slope / period % 1 < 0.5).astype(float)
    elif kind == "checked":
        mix = ((columns // period + rows // period) % 2).astype(float)
    elif kind == "dotted":
        mix = (np.hypot(columns % period - period / 2, rows % period - period / 2) < period * 0.3).astype(float)
    elif kind == "shaded":
        mix = (slope - slope.min()) / np.ptp(slope)
    else:
        coarse = Image.fromarray(rng.integers(0, 256, size=(6, 6), dtype=np.uint8))
        mix = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC)) / 255
    pixels = tone + mix[..., None] * (other - tone) + rng.normal(0, 5, size=(size, size, 1))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
