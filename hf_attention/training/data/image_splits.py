"""Data sets of pictures as people have them: the form found, the pictures found, a row for each picture."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict, Image, IterableDataset, IterableDatasetDict, List, Value

from .columns import is_text, with_usual_names
from .folder_styles import find_styles
from .image_columns import image_files
from .picture_files import ADDRESSES, find_pictures, unnamed_pictures
from .reading import load_splits


logger = logging.getLogger(__name__)

SHOWN = 3  # names in a message


def load_image_splits(
    name: str,
    config_name: str | None = None,
    streaming: bool = False,
    *,
    image_column: str = "image",
    columns: Sequence[str] = (),
    image_dir: str | None = None,
    skip_missing: bool = False,
) -> DatasetDict | IterableDatasetDict:
    """
    Loads a data set of pictures: from a Hub name, a folder that `load_dataset` reads or `save_to_disk` wrote, or a
    file or folder of a form of `STYLES`.

    Args:
        name (`str`):
            Hub name, folder or file.
        config_name (`str`, *optional*):
            Configuration of the data set.
        streaming (`bool`, *optional*, defaults to `False`):
            Whether rows are read only when they are asked for.
        image_column (`str`, *optional*, defaults to `"image"`):
            The column of images, or of their files or addresses, which become images.
        columns (`Sequence[str]`, *optional*):
            What else is asked for. Each, and the column of images, may have another of its usual names.
        image_dir (`str`, *optional*):
            The folder of the pictures. By default they are looked for beside the file that names them.
        skip_missing (`bool`, *optional*, defaults to `False`):
            Whether rows whose picture is not there are left out; else they are an error.

    Returns:
        `DatasetDict`, or with `streaming` `IterableDatasetDict`: The splits.

    Raises:
        ValueError: If the data cannot be read, or a picture is not there.
    """
    return _load(name, config_name, streaming, image_column, columns, image_dir, skip_missing)[0]


def load_captioned_splits(
    name: str,
    config_name: str | None = None,
    streaming: bool = False,
    *,
    image_column: str = "image",
    captions_column: str = "captions",
    image_dir: str | None = None,
    skip_missing: bool = False,
    drop_uncaptioned: bool = False,
) -> DatasetDict | IterableDatasetDict:
    """
    As [`load_image_splits`], with all captions of a picture file in one row. A stream's stay as they are.

    Args:
        captions_column (`str`, *optional*, defaults to `"captions"`):
            The column of captions.
        drop_uncaptioned (`bool`, *optional*, defaults to `False`):
            Whether pictures of the folder that have no row are left out; else they are an error.

    Raises:
        ValueError: As there, or if the folder has pictures without a caption.
    """
    splits, lists_all = _load(name, config_name, streaming, image_column, [captions_column], image_dir, skip_missing)
    if isinstance(splits, IterableDatasetDict):
        return splits
    if lists_all:
        _check_all_are_named(splits, image_column, drop_uncaptioned)
    return DatasetDict({split: joined_captions(rows, image_column, captions_column) for split, rows in splits.items()})


def _load(
    name: str,
    config_name: str | None,
    streaming: bool,
    column: str,
    columns: Sequence[str],
    image_dir: str | None,
    skip_missing: bool,
) -> tuple[DatasetDict | IterableDatasetDict, bool]:
    """The splits, and whether all pictures that lie where theirs do should have a row."""
    path = Path(name)
    if path.is_dir() and not any(file.is_file() for file in path.rglob("[!.]*")):
        raise ValueError(f"`dataset_name` is {name!r}, a folder without a file.")
    folder = None if image_dir is None else Path(image_dir)
    found = find_styles(path) if path.exists() else []
    if not found:
        root = path if path.is_dir() else Path()
        splits = with_usual_names(load_splits(name, config_name, streaming), column, *columns)
        is_folder = path.is_dir() and not (path / "dataset_dict.json").is_file()
        if is_folder and all({*(rows.column_names or "?")} <= {"image", "label"} for rows in splits.values()):
            raise ValueError(
                f"{name} has pictures, but nothing is said of them. Put {_a_file_for(columns)} beside them; "
                "docs/your_own_photos.md tells what else is read."
            )
        if is_folder and any(column not in (rows.column_names or [column]) for rows in splits.values()):
            names = sorted({each for rows in splits.values() for each in rows.column_names or ()})
            raise ValueError(
                f"`image_column` is {column!r}, but the data set's columns are {names}: no file of {name} says "
                "more of its pictures that is understood; docs/your_own_photos.md tells what is read."
            )
        for split, rows in splits.items():
            splits[split] = _with_images(rows, f"the split {split!r}", root, column, folder, skip_missing)
        return splits, is_folder
    splits = DatasetDict()
    for each in found:
        read = with_usual_names(DatasetDict(each.read()), column, *columns)
        for split, rows in read.items():
            said = f"{each.path} (read as {each.style.name}, split {split!r})"
            splits[split] = _with_images(rows, said, each.path.parent, column, folder, skip_missing)
    if streaming:
        splits = IterableDatasetDict({split: rows.to_iterable_dataset() for split, rows in splits.items()})
    return splits, found[0].style.lists_all


def _a_file_for(columns: Sequence[str]) -> str:
    """What may say of pictures what is asked for."""
    table = f"a metadata.csv with the columns file_name and {' and '.join(columns)}"
    return f"a captions.txt (first line image,caption) or {table}" if len(columns) == 1 else table


def _with_images(
    rows: Dataset | IterableDataset,
    said: str,
    root: Path,
    column: str,
    image_dir: Path | None,
    skip_missing: bool,
) -> Dataset | IterableDataset:
    """The rows of a split, which is `said` to be so, with images in place of their names."""
    feature = (rows.features or {}).get(column)
    if isinstance(rows, IterableDataset):
        if not is_text(feature):
            return rows
        in_folder = partial(_in_folder, column=column, folder=image_dir or root)
        return rows.map(in_folder, features=rows.features).cast_column(column, Image())
    if is_text(feature):
        return _with_named_images(rows, said, root, column, image_dir, skip_missing)
    if not isinstance(feature, Image):
        return rows
    names = {row: str(path) for row, path in image_files(rows, column) if not path.exists()}
    return _without(rows, said, dict.fromkeys(names, "no such file"), names, skip_missing)


def _in_folder(row: dict[str, Any], column: str, folder: Path) -> dict[str, Any]:
    name = row[column]
    return {column: name if name is None or name.startswith(ADDRESSES) else str(folder / name)}


def _with_named_images(
    rows: Dataset, said: str, root: Path, column: str, image_dir: Path | None, skip_missing: bool
) -> Dataset:
    names = dict(enumerate(rows[column]))
    found, reasons = find_pictures([name for name in names.values() if name], root, image_dir)
    absent = {row: reasons.get(name, "no name") for row, name in names.items() if name not in found}
    rows = _without(rows, said, absent, names, skip_missing)
    paths = [str(found[name]) for name in rows[column]]
    folders = sorted({str(file.parent) for file in found.values()})
    logger.warning("%s: %d pictures in %s.", said, len(found), ", ".join(folders[:SHOWN]))
    rows = rows.add_column(new := f"{column}, found", paths).remove_columns(column)  # it may be the only one
    return rows.rename_column(new, column).cast_column(column, Image())


def _without(rows: Dataset, said: str, absent: dict[int, str], names: dict[int, str | None], skip: bool) -> Dataset:
    """The rows but those whose picture is absent, by the reason for it."""
    if not absent:
        return rows
    reasons = {names[row]: reason for row, reason in absent.items()}
    message = f"{said}: {len(absent)} of {len(rows)} rows name a picture that is not there: "
    message += "; ".join(f"{name!r} ({reason})" for name, reason in [*reasons.items()][:SHOWN])
    message += "; …" if len(reasons) > SHOWN else ""
    if not skip:
        raise ValueError(f"{message}. `image_dir` says where they are, `skip_bad_images` leaves such rows out.")
    if len(absent) == len(rows):
        raise ValueError(f"{message}. No row is left.")
    logger.warning("Left out: %s.", message)
    return rows.select([row for row in range(len(rows)) if row not in absent])


def _check_all_are_named(splits: DatasetDict, column: str, drop: bool) -> None:
    rows = [rows for rows in splits.values() if isinstance(rows.features.get(column), Image)]
    unnamed = unnamed_pictures(path for each in rows for _, path in image_files(each, column))
    if not unnamed:
        return
    said = ", ".join(str(file) for file in unnamed[:SHOWN]) + (", …" if len(unnamed) > SHOWN else "")
    if not drop:
        raise ValueError(
            f"{len(unnamed)} pictures have no caption: {said}. `drop_uncaptioned` leaves such pictures out."
        )
    logger.warning("Left out %d pictures that have no caption: %s.", len(unnamed), said)


def joined_captions(rows: Dataset, image_column: str, captions_column: str) -> Dataset:
    """
    One row for each file, with all its captions, where the rows have a caption each.

    Args:
        rows (`Dataset`):
            A split.
        image_column, captions_column (`str`):
            Its columns. Images that are in the data set itself, and lists of captions, are left as they are.
    """
    features = rows.features
    if not is_text(features.get(captions_column)) or not isinstance(features.get(image_column), Image):
        return rows
    by_file: dict[Path, list[int]] = {}
    for row, path in image_files(rows, image_column):
        by_file.setdefault(path, []).append(row)
    if not len(by_file) < sum(map(len, by_file.values())) == len(rows):
        return rows
    captions = rows[captions_column][:]
    joined = [[captions[row] for row in group] for group in by_file.values()]
    logger.warning("Joined the captions of %d rows into those of %d pictures.", len(rows), len(joined))
    firsts = rows.select([group[0] for group in by_file.values()]).remove_columns(captions_column)
    return firsts.add_column(captions_column, joined, feature=List(Value("string")))
