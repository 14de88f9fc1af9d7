"""The columns of a data set, found where they have another of their usual names."""

import logging

from datasets import Dataset, DatasetDict, Image, IterableDataset, IterableDatasetDict


logger = logging.getLogger(__name__)

# What else data sets call the columns of our default names.
OTHER_NAMES = {
    "answer": ("answers",),
    "captions": ("caption", "text"),
    "text": ("caption", "content", "sentence"),
}


def with_usual_names(splits: DatasetDict | IterableDatasetDict, *columns: str) -> DatasetDict | IterableDatasetDict:
    """
    Gives columns the names that are asked for, where these are our defaults, are not there, and one column alone can
    be meant: that of another usual name (`OTHER_NAMES`), or for `image` that of images. A warning says which.

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
    features = dataset.features
    if features is None or column in features:
        return None
    if column == "image":
        names = [name for name, feature in features.items() if isinstance(feature, Image)]
    else:
        names = [name for name in OTHER_NAMES.get(column, ()) if name in features]
    return names[0] if len(names) == 1 else None
