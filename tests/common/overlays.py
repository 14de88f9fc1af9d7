"""What a reader sees of attention over a picture, computed by matplotlib's own colours."""

import numpy as np
from matplotlib import colormaps


def colours_over(grey: float | np.ndarray, shares: np.ndarray) -> np.ndarray:
    """
    The colours of attention over a plain grey: a veil first, then `plasma`, the less transparent the larger the share.

    Args:
        grey: From 0 to 1; or red, green and blue.
        shares: Weights as shares of the largest.

    Returns:
        Of shape `(*shares.shape, 3)`, from 0 to 1.
    """
    opacity = 0.68 * shares[..., None] ** 0.6
    veiled = 0.38 * 0.68 + (1 - 0.38) * grey
    return opacity * colormaps["plasma"](0.15 + 0.85 * shares)[..., :3] + (1 - opacity) * veiled


def unseen_over(grey: float) -> float:
    """The grey of what the model was not shown."""
    return 0.8 + 0.2 * grey


def shares_seen(pixels: np.ndarray, grey: float) -> np.ndarray:
    """
    Reads attention off a picture that is of a plain grey, as a reader does by the scale.

    Args:
        pixels: Red, green and blue, from 0 to 1.
        grey: Of the picture, from 0 to 1.

    Returns:
        Of shape `pixels.shape[:-1]`: the shares whose colours are nearest; NaN where none is near.
    """
    shares = np.linspace(0, 1, 201)
    colours, places = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
    distances = np.abs(colours[:, None] - colours_over(grey, shares)).max(-1)
    seen = np.where(distances.min(-1) < 0.03, shares[distances.argmin(-1)], np.nan)
    return seen[places].reshape(pixels.shape[:-1])
