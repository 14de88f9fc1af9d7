"""Pictures as Pillow knows them, of any mode."""

import numpy as np
from PIL import Image, ImageOps


def layout_of(images: Image.Image | list) -> dict[str, str]:
    """
    What an image processor is to be told of pictures so low that it cannot tell their rows from their channels.

    Args:
        images (`PIL.Image.Image`, or a list): Pictures; of anything but Pillow's, nothing is said.

    Returns:
        `dict[str, str]`: Arguments of an image processor.
    """
    images = images if isinstance(images, list) else [images]
    if all(isinstance(image, Image.Image) for image in images) and any(image.height in (1, 3) for image in images):
        return {"input_data_format": "channels_last"}
    return {}


def as_rgb(image: Image.Image) -> Image.Image:
    """
    The picture in RGB, turned as its EXIF says. 16 bits of grey become 8; what lies under a transparent pixel shows.

    Args:
        image (`PIL.Image.Image`): A picture of any mode but F.

    Raises:
        TypeError: Where it is no Pillow image.
        ValueError: Where it is of floating-point numbers, or of whole ones beyond 16 bits: how bright are they?
    """
    if not isinstance(image, Image.Image):
        raise TypeError(
            f"A picture must be a `PIL.Image.Image`, got {type(image).__name__}: open it with Pillow first."
        )
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # Pillow's own conversion makes white of everything above 255
        grey = np.asarray(image)
        if grey.min() < 0 or grey.max() > 0xFFFF:
            raise ValueError(
                f"A picture has grey levels from {grey.min()} to {grey.max()}: convert it to 8 or 16 bits."
            )
        if image.mode != "I" or grey.max() > 0xFF:
            grey = grey >> 8
        image = Image.fromarray(grey.astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("A picture is of floating-point numbers (Pillow's mode F): convert it to 8 bits.")
    return image.convert("RGB")
