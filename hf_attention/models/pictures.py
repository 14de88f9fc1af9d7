"""Pictures as Pillow knows them, of any mode and from anywhere."""

import base64
import io
import os
import string
import urllib.parse
import urllib.request
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from .versions import __version__


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
        ValueError:
            Where it has no pixels, or is of floating-point numbers, or of whole ones beyond 16 bits: how bright are
            they?
    """
    if not isinstance(image, Image.Image):
        raise TypeError(
            f"A picture must be a `PIL.Image.Image`, got {type(image).__name__}: open it with Pillow first."
        )
    if 0 in image.size:
        raise ValueError(f"A picture has no pixels: it is {image.width} wide and {image.height} high.")
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


def read_bytes(source: str, timeout: float | None) -> bytes:
    """
    What lies at an address, or is written in base64.

    Args:
        source (`str`): An `http(s)` address, or an image in base64.
        timeout (`float`, *optional*): Seconds to wait for what comes from the web. By default for ever.
    """
    if source.startswith(("http://", "https://")):
        source = urllib.parse.quote(source.strip(), safe=string.punctuation)  # spaces and letters, as a browser does
        # Servers turn the standard library away by its own name.
        request = urllib.request.Request(source, headers={"User-Agent": f"hf_attention/{__version__}"})
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return response.read()
    if source.startswith("data:image/"):
        source = source.partition(",")[2]
    return base64.decodebytes(source.encode())


def check_picture(image: Any) -> None:
    """
    Tells a picture, or what may name one, from all else, without reading it.

    Args:
        image: Anything.

    Raises:
        TypeError: Where it is no image and names none.
    """
    if not isinstance(image, str | os.PathLike | Image.Image):
        column = ' Of a data set pass the column of images, `dataset["image"]`.' if isinstance(image, dict) else ""
        raise TypeError(
            "An image must be a path, an http(s) address, a base64 string or a PIL image, got "
            f"{type(image).__name__}.{column}"
        )


def read_image(image: Any, timeout: float | None = None) -> Image.Image:
    """
    The picture in RGB, as [`as_rgb`] makes it, wherever it lies.

    Args:
        image (`str`, `os.PathLike` or `PIL.Image.Image`):
            A path, an `http(s)` address, an image in base64, or a picture.
        timeout (`float`, *optional*): Seconds to wait for an image from the web. By default for ever.

    Raises:
        TypeError: Where it is no image and names none.
        ValueError: Where the image cannot be read; the message names it.
    """
    check_picture(image)
    if isinstance(image, os.PathLike):
        image = os.fspath(image)
    if isinstance(image, str):
        name = repr(image) if len(image) <= 200 else f"{image[:60]!r}... ({len(image)} characters)"
        if not image:
            raise ValueError("An image's path is the empty string.")
    else:
        name = f"a PIL image ({image.mode}, {image.width}x{image.height})"
        if getattr(image, "filename", ""):
            name += f" of {image.filename!r}"
    try:
        if isinstance(image, str):
            image = Image.open(image if os.path.isfile(image) else io.BytesIO(read_bytes(image, timeout)))
        return as_rgb(image)
    except Exception as error:  # each decoder has errors of its own
        if (
            isinstance(image, str)
            and not image.startswith(("http://", "https://", "data:"))
            and not os.path.isfile(image)
        ):
            reason = (
                "it is a folder" if os.path.isdir(image) else "there is no such file, and it is no image in base64"
            )
        elif isinstance(error, UnidentifiedImageError):
            reason = "it is empty, or of no format that Pillow knows"
        else:
            kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
            reason = f"{kind}{str(error)[:200].removesuffix('.')}"
        raise ValueError(f"Cannot read the image {name}: {reason}.") from error
