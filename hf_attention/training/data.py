"""Reading data sets: splits, columns, texts and images, with errors that name what is wrong."""

from pathlib import Path

from datasets import Dataset, DatasetDict, Image, load_dataset, load_from_disk
from PIL import Image as PILImage


def load_splits(name: str, config_name: str | None = None) -> DatasetDict:
    """Loads a data set from a Hub name, a folder that `load_dataset` reads, or one that `save_to_disk` wrote.

    Args:
        name (`str`): Hub name or folder.
        config_name (`str`, *optional*): configuration of the data set.

    Returns:
        `DatasetDict`: the splits.

    Raises:
        ValueError: if a folder holds a single split saved without its name.
    """
    folder = Path(name)
    if (folder / "dataset_dict.json").is_file():
        return load_from_disk(name)
    if (folder / "state.json").is_file():
        raise ValueError(f"{name} holds one split without a name. Save a `DatasetDict` instead.")
    return load_dataset(name, config_name)


def get_split(splits: DatasetDict, name: str, max_samples: int | None = None) -> Dataset:
    """The split `name`, or its first `max_samples` rows.

    Raises:
        ValueError: if there is no such split, or it is empty.
    """
    if name not in splits:
        raise ValueError(f"The data set has no split {name!r}. It has {sorted(splits)}.")
    dataset = splits[name]
    if len(dataset) == 0:
        raise ValueError(f"The split {name!r} is empty.")
    return dataset if max_samples is None else dataset.select(range(min(max_samples, len(dataset))))


def check_column(dataset: Dataset, column: str, argument: str) -> None:
    """Raises a ValueError that names `argument` and the columns there are, if `column` is missing."""
    if column not in dataset.column_names:
        raise ValueError(f"`{argument}` is {column!r}, but the data set's columns are {dataset.column_names}.")


def check_images(dataset: Dataset, column: str, argument: str = "image_column") -> None:
    """Raises a ValueError if `column` is missing or does not hold images."""
    check_column(dataset, column, argument)
    if not isinstance(dataset.features[column], Image):
        raise ValueError(f"`{argument}` is {column!r}, which holds {dataset.features[column]}, not images.")


def text_lists(dataset: Dataset, column: str, argument: str) -> list[list[str]]:
    """The texts of each row, from a column of strings or of lists of strings; blank ones are left out.

    Raises:
        ValueError: if the column is missing or holds something else, or a row has no text.
    """
    check_column(dataset, column, argument)
    rows = []
    for number, value in enumerate(dataset[column]):
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ValueError(
                f"`{argument}` is {column!r}, whose row {number} is {value!r}: neither a string nor a list of strings."
            )
        texts = [text.strip() for text in texts if text.strip()]
        if not texts:
            raise ValueError(f"Row {number} of the column {column!r} (`{argument}`) has no text.")
        rows.append(texts)
    return rows


def read_image(dataset: Dataset, row: int, column: str) -> PILImage.Image:
    """The decoded image of one row.

    Raises:
        ValueError: if it is missing or cannot be decoded; the message names the row and, where known, the file.
    """
    try:
        image = dataset[row][column]
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for files that are no images
        raw = dataset.select_columns(column).cast_column(column, Image(decode=False))[row][column]
        name = f" ({raw['path']})" if raw["path"] else ""
        raise ValueError(f"The image of row {row}{name} cannot be decoded: {error}") from error
    if image is None:
        raise ValueError(f"Row {row} has no image.")
    return image
