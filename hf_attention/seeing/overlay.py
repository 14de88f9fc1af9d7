"""
How attention is laid over a picture: the same in figures and in pages.

The picture is nearly in grey, so that red is still told from green, under a thin veil, which lightens what is dark and
quietens what is white, so that its objects are to be made out wherever the model looked. Over it lies the attention in
colour, the more of it and the lighter the larger the weight: from violet, which to colour-blind people is blue, to
yellow.
"""

import numpy as np
from PIL import Image


# Eleven colours of matplotlib's `plasma`, which is perceptually uniform, from 0.15 to 1.
_COLOURS = np.array(
    [
        (0.338, 0.006, 0.643),
        (0.471, 0.006, 0.660),
        (0.590, 0.073, 0.630),
        (0.697, 0.170, 0.561),
        (0.787, 0.267, 0.480),
        (0.863, 0.365, 0.404),
        (0.923, 0.463, 0.333),
        (0.970, 0.575, 0.258),
        (0.993, 0.699, 0.186),
        (0.984, 0.835, 0.143),
        (0.940, 0.975, 0.131),
    ]
)
_MOST_OPAQUE, _POWER = 0.68, 0.6
_VEIL_GREY, _VEIL_OPACITY = 0.68, 0.38
_UNSEEN = (1.0, 1.0, 1.0, 0.8)
_MIDDLE_GREY = 0.5
GREYNESS = 0.75


def in_grey(image: Image.Image) -> Image.Image:
    """
    Takes most of the colours out of a picture, as `grayscale` of CSS does, by `GREYNESS`.

    Args:
        image (`PIL.Image.Image`): In RGB.

    Returns:
        `PIL.Image.Image`: To lie under [`overlay`].
    """
    grey = image.convert("L", matrix=(0.2126, 0.7152, 0.0722, 0)).convert("RGB")
    return Image.blend(image, grey, GREYNESS)


def overlay(shares: np.ndarray) -> np.ndarray:
    """
    Colours attention.

    Args:
        shares (`np.ndarray` of any shape):
            Weights as shares of the largest on the scale; NaN where the model saw nothing.

    Returns:
        `np.ndarray` of shape `(*shares.shape, 4)`: Red, green, blue and opacity, from 0 to 1, of what lies over the
        picture in grey.
    """
    is_seen = ~np.isnan(shares)
    shares = np.clip(np.where(is_seen, shares, 0), 0, 1)
    stops = np.linspace(0, 1, len(_COLOURS))
    colours = np.stack([np.interp(shares, stops, band) for band in _COLOURS.T], -1)
    colour_opacity = _MOST_OPAQUE * shares[..., None] ** _POWER
    veil_opacity = _VEIL_OPACITY * (1 - colour_opacity)  # what of the veil is seen through the colour
    opacity = colour_opacity + veil_opacity
    colours = (colour_opacity * colours + veil_opacity * _VEIL_GREY) / opacity
    return np.where(is_seen[..., None], np.concatenate([colours, opacity], -1), _UNSEEN)


def scale_colours(count: int) -> np.ndarray:
    """
    Tells what the colours mean, for a bar beside the picture.

    Args:
        count (`int`): How many colours.

    Returns:
        `np.ndarray` of shape `(count, 3)`: The colours from no weight to the largest, over a middle grey.
    """
    layers = overlay(np.linspace(0, 1, count))
    return layers[:, :3] * layers[:, 3:] + _MIDDLE_GREY * (1 - layers[:, 3:])
