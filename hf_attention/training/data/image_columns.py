"""The images of the rows of a split: decoded, told apart, or the files that they lie in."""

import hashlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset, Image
from PIL import Image as PILImage

from ...models.pictures import as_rgb
from .columns import check_column, column_values


logger = logging.getLogger(__name__)


def check_images(dataset: Dataset, column: str, argument: str = "image_column") -> None:
    """Raises a ValueError if `column` is missing or does not hold images."""
    check_column(dataset, column, argument)
    if not isinstance(dataset.features[column], Image):
        raise ValueError(f"`{argument}` is {column!r}, which holds {dataset.features[column]}, not images.")


def drop_bad_images(dataset: Dataset, column: str) -> Dataset:
    """
    The rows of a split whose images can be decoded; a warning counts and names the others.

    Raises:
        ValueError: If no row is left.
    """
    good = []
    for row in range(len(dataset)):
        try:
            _decode(dataset, row, column)
        except ValueError as error:
            logger.warning("Left out: %s", error)
        else:
            good.append(row)
    if len(good) == len(dataset):
        return dataset
    if not good:
        raise ValueError(f"None of the {len(dataset)} images of the column {column!r} can be decoded.")
    logger.warning("Left out %d of %d images, which cannot be decoded.", len(dataset) - len(good), len(dataset))
    return dataset.select(good)


def read_image(dataset: Dataset, row: int, column: str) -> PILImage.Image:
    """
    The decoded image of one row, in RGB.

    Raises:
        ValueError: If it is missing or cannot be decoded; the message names the row and, where known, the file.
    """
    try:
        return _decode(dataset, row, column)
    except ValueError as error:
        raise ValueError(f"{error} `skip_bad_images` leaves such rows out.") from error


def _decode(dataset: Dataset, row: int, column: str) -> PILImage.Image:
    try:
        image = dataset[row][column]
        if image is not None:
            return as_rgb(image)
    except Exception as error:  # each decoder has errors of its own
        raw = dataset.select_columns(column).cast_column(column, Image(decode=False))[row][column]
        name = f" ({raw['path']})" if raw["path"] else ""
        raise ValueError(f"The image of row {row}{name} cannot be decoded: {error}.") from error
    raise _without_image(row)


def _without_image(row: int) -> ValueError:
    return ValueError(f"Row {row} has no image.")


def image_ids(dataset: Dataset, image_column: str, image_id_column: str | None = None) -> list[Any]:
    """What tells the images of a split apart: a column, their bytes, their files, or (made on the way) their rows."""
    if image_id_column is not None:
        check_column(dataset, image_id_column, "image_id_column")
        return list(column_values(dataset, image_id_column))
    check_images(dataset, image_column)
    encoded = dataset.select_columns(image_column).cast_column(image_column, Image(decode=False))

    def key(row: int, image: Mapping[str, Any] | None) -> Any:
        if image is None:
            raise _without_image(row)
        # Of an image that lies in the data set itself, the path is but a name, and another may have the same.
        return image["path"] or row if image["bytes"] is None else hashlib.sha256(image["bytes"]).digest()

    return [key(row, entry[image_column]) for row, entry in enumerate(encoded)]


def image_files(dataset: Dataset, column: str) -> Iterator[tuple[int, Path]]:
    """The rows of a column of images, and their files, where these are not in the data set itself."""
    encoded = dataset.select_columns(column).cast_column(column, Image(decode=False))
    if len(encoded) == 0 or (encoded[0][column] or {}).get("bytes") is not None:  # the others will be like it
        return
    for row, image in enumerate(encoded[column]):
        if image is not None and image["bytes"] is None and image["path"] and "://" not in image["path"]:
            yield row, Path(image["path"])
