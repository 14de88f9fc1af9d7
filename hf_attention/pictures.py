"""Pictures as Pillow knows them, of any mode."""

import numpy as np
from PIL import Image


def as_rgb(image: Image.Image) -> Image.Image:
    """
    The picture in RGB: 16 bits of grey become 8, and what lies under a transparent pixel shows.

    Args:
        image (`PIL.Image.Image`): A picture of any mode.
    """
    if image.mode.startswith("I;16"):  # Pillow's own conversion makes white of everything above 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB")
