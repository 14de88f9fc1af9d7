"""Random crops of the images of training."""

import numpy as np
from PIL import Image


def random_crop(image: Image.Image, row: int, crop: int) -> Image.Image:
    """
    One of an image's random crops: 0.7 to 1 of its width, and of its height, anywhere. The same each time it is asked
    for, so that features of it can be kept.

    Args:
        image (`PIL.Image.Image`):
            The image.
        row (`int`):
            Number of the image in its data set (of a stream, in the buffer).
        crop (`int`):
            Number of the crop, from 1.
    """
    # Whoever changes what follows raises FORMAT in features.py: stored features are taken to be of these crops.
    rng = np.random.default_rng((row, crop))
    size = np.array(image.size)
    cropped = np.ceil(rng.uniform(0.7, 1, 2) * size).astype(int)
    corner = rng.integers(0, size - cropped, endpoint=True)
    return image.crop((*corner.tolist(), *(corner + cropped).tolist()))
