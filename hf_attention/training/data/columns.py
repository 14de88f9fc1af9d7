"""The columns of a data set, found where they have another of their usual names."""

import logging
from collections.abc import Iterator
from typing import Any

from datasets import Dataset, DatasetDict, Image, IterableDataset, IterableDatasetDict, Value


logger = logging.getLogger(__name__)

# What else data sets call the columns of our default names.
OTHER_NAMES = {
    "answer": ("answers",),
    "captions": ("caption", "text", "comment"),
    "text": ("caption", "content", "sentence"),
}
# What tables call the column of their pictures' paths or addresses.
PICTURE_NAMES = (
    "image",
    "file_name",
    "filename",
    "image_name",
    "image_file",
    "image_path",
    "image_url",
    "path",
    "file",
    "photo",
    "url",
)
# How the files of pictures end.
PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")


def with_usual_names(splits: DatasetDict | IterableDatasetDict, *columns: str) -> DatasetDict | IterableDatasetDict:
    """
    Gives columns the names that are asked for, where these are our defaults, are not there, and one column alone can
    be meant: that of the same name in capitals or of another usual name (`OTHER_NAMES`), or for `image` that of
    images, or else of their names (`PICTURE_NAMES`). A warning says which.

    Args:
        splits (`DatasetDict` or `IterableDatasetDict`):
            The splits. A stream that does not know its columns is left as it is.
        columns (`str`):
            The names that are asked for.
    """
    renamed = {}
    for name, dataset in splits.items():
        for column in columns:
            found = _found(dataset, column)
            if found is not None:
                dataset = dataset.rename_column(found, column)
                renamed[column, found] = None
        splits[name] = dataset
    for column, found in renamed:
        logger.warning("There is no column %r: took the column %r for it.", column, found)
    return splits


def _found(dataset: Dataset | IterableDataset, column: str) -> str | None:
    if dataset.features is None or column in dataset.features:
        return None
    names = usual_columns(dataset, column)
    return names[0] if len(names) == 1 else None


def usual_columns(dataset: Dataset | IterableDataset, column: str) -> list[str]:
    """
    The columns that may be meant where `column`, one of our defaults, is not there.

    Args:
        dataset (`Dataset` or `IterableDataset`):
            It knows its columns.
        column (`str`):
            The name that is asked for.
    """
    features = dataset.features
    if column != "image":
        names = (column, *OTHER_NAMES.get(column, ()))
        return [name for name in features if name.lower() in names]
    images = [name for name, feature in features.items() if isinstance(feature, Image)]
    return images or [name for name, feature in features.items() if name.lower() in PICTURE_NAMES and is_text(feature)]


def is_text(feature: Any) -> bool:
    """Whether a column is one of strings."""
    return isinstance(feature, Value) and feature.dtype in ("string", "large_string")


def check_column(dataset: Dataset, column: str, argument: str) -> None:
    """
    Raises a ValueError that names `argument` and the columns there are, if `column` is missing, and which of them may
    be meant.
    """
    if column not in dataset.column_names:
        candidates = usual_columns(dataset, column)
        hint = (
            f" {' and '.join(map(repr, candidates))} may be meant: `{argument}` says which."
            if len(candidates) > 1
            else ""
        )
        raise ValueError(f"`{argument}` is {column!r}, but the data set's columns are {dataset.column_names}.{hint}")


def column_values(dataset: Dataset, column: str) -> Iterator[Any]:
    """
    The values of a column, row by row.

    Raises:
        ValueError: If a text is not valid UTF-8, which JSON may hold.
    """
    row = -1
    try:
        for row, value in enumerate(dataset[column]):  # noqa: B007
            yield value
    except UnicodeDecodeError as error:
        raise ValueError(f"Row {row + 1} of the column {column!r} is not valid UTF-8: {error.reason}.") from error
