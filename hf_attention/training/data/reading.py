"""Reading data sets and their files, with errors that name what is wrong."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

from datasets import (
    Dataset,
    DatasetDict,
    IterableDataset,
    IterableDatasetDict,
    NamedSplit,
    load_dataset,
    load_from_disk,
)
from pyarrow import ArrowException

from .packed import open_unpacked, unpacked_suffix


# What yields the rows of a split, and the files that it reads, by argument.
Reader = tuple[Callable[..., Iterator[dict[str, Any]]], dict[str, Path]]


def load_splits(
    name: str, config_name: str | None = None, streaming: bool = False
) -> DatasetDict | IterableDatasetDict:
    """
    Loads a data set from a Hub name, a folder that `load_dataset` reads, one that `save_to_disk` wrote, or a file of
    texts, which is the split `train`: one of those that [`load_text_splits`] reads, or `.txt`, a text a line.

    Args:
        name (`str`):
            Hub name, folder or file.
        config_name (`str`, *optional*):
            Configuration of the data set.
        streaming (`bool`, *optional*, defaults to `False`):
            Whether rows are read only when they are asked for.

    Returns:
        `DatasetDict`, or with `streaming` `IterableDatasetDict`: The splits.

    Raises:
        ValueError:
            If a folder holds a single split saved without its name, a configuration of a file is asked for, or the
            data cannot be read.
        ConnectionError: If there is no such folder, and the Hub cannot be reached.
        FileNotFoundError: If there is no such folder, and no such data set on the Hub.
    """
    folder = Path(name)
    if folder.is_file():
        if config_name is not None:
            raise ValueError(f"`dataset_config_name` is {config_name!r}, but the file {name} has no configurations.")
        return _load_splits({"train": _reader_of_file(folder)}, streaming)
    if (folder / "state.json").is_file():
        raise ValueError(f"{name} holds one split without a name. Save a `DatasetDict` instead.")
    try:
        if (folder / "dataset_dict.json").is_file():
            splits = load_from_disk(name)
            if not streaming:
                return splits
            return IterableDatasetDict({split: rows.to_iterable_dataset() for split, rows in splits.items()})
        return load_dataset(name, config_name, streaming=streaming)
    except (ConnectionError, FileNotFoundError) as error:
        if folder.exists():
            raise
        kind = ConnectionError if isinstance(error, ConnectionError) else FileNotFoundError
        hub = "cannot be reached" if kind is ConnectionError else "has none that you may read"
        raise kind(
            f"`dataset_name` is {name!r}: there is no such folder here, and the Hub {hub} ({error})."
        ) from error
    except OSError:  # no space
        raise
    except Exception as error:  # each format has errors of its own
        raise ValueError(f"The data set {name!r} cannot be read: {_first_cause(error)}") from error


def _reader_of_file(path: Path) -> Reader:
    """What reads the rows of a file of texts that is a data set."""
    if unpacked_suffix(path) == ".txt":
        return _read_texts, {"path": path}
    if unpacked_suffix(path) in _ROWS_OF:
        return _reader(path, "train")
    known = ", ".join((*_ROWS_OF, ".txt"))
    raise ValueError(f"`dataset_name` is the file {path}, which must end in one of {known}, also packed as .gz.")


def _first_cause(error: BaseException) -> str:
    """What went wrong at first: `datasets` says but that it did."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}" if str(error) else "a file of it is empty, or it has no data."


def load_text_splits(
    files: Mapping[str, str | Path | Sequence[str | Path]], streaming: bool = False
) -> DatasetDict | IterableDatasetDict:
    """
    Loads splits from files of texts in UTF-8, which are read as they are: no empty or odd text is given a meaning.
    Each may be packed, with `.gz` behind its name.

    Args:
        files (`Mapping`):
            For every split its file, or its pair of files:

            - `.jsonl` or `.json`: one JSON object a line;
            - `.csv`: with commas, quotes where needed, and the columns' names in the first line;
            - `.tsv`: with tabs, the names in the first line, and no quoting: a quotation mark is part of the text;
            - two plain files, one text a line, whose lines belong together: they become the columns `source` and
              `target`.
        streaming (`bool`, *optional*, defaults to `False`):
            Whether rows are read only when they are asked for; so errors come late.

    Returns:
        `DatasetDict`, or with `streaming` `IterableDatasetDict`: The splits, to be read by [`text_pairs`].

    Raises:
        ValueError:
            If a file has another ending, is not valid UTF-8 or cannot be parsed (it names file and line), or two
            files differ in their number of lines or have endings of files with columns.
        FileNotFoundError: If there is no such file.
        IsADirectoryError: If it is a folder.
    """
    return _load_splits({split: _reader(paths, split) for split, paths in files.items()}, streaming)


def _load_splits(readers: Mapping[str, Reader], streaming: bool) -> DatasetDict | IterableDatasetDict:
    """The splits, by what reads their rows."""
    if streaming:
        return IterableDatasetDict(
            {
                split: IterableDataset.from_generator(read, gen_kwargs=paths, split=NamedSplit(split))
                for split, (read, paths) in readers.items()
            }
        )
    return DatasetDict({split: _read_split(read, paths, split) for split, (read, paths) in readers.items()})


def _reader(paths: str | Path | Sequence[str | Path], split: str) -> Reader:
    """What reads the rows of a split, and the files for it, by argument."""
    if not isinstance(paths, str | Path) and len(paths) == 1:
        return _reader(paths[0], split)
    if isinstance(paths, str | Path):
        path = Path(paths)
        if unpacked_suffix(path) not in _ROWS_OF:
            raise ValueError(
                f"{path} must end in one of {', '.join(_ROWS_OF)}; of plain text, pass two files, source and target."
            )
        read, files = _ROWS_OF[unpacked_suffix(path)], {"path": path}
    elif len(paths) != 2:
        raise ValueError(f"The split {split!r} needs one file, or two (source and target), got {len(paths)}.")
    elif any(unpacked_suffix(path) in _ROWS_OF for path in paths):
        raise ValueError(
            f"{' and '.join(map(str, paths))} of the split {split!r}: two files are plain text, source and target. "
            "Of files with columns, pass one."
        )
    else:
        read, files = _read_pairs, {"source": Path(paths[0]), "target": Path(paths[1])}
    for path in files.values():
        if not path.exists():
            raise FileNotFoundError(f"There is no file {path}, which the split {split!r} is to be read from.")
        if path.is_dir():
            raise IsADirectoryError(f"{path}, which the split {split!r} is to be read from, is a folder, not a file.")
    return read, files


def _read_split(read: Callable[..., Iterator[dict[str, Any]]], paths: dict[str, Path], split: str) -> Dataset:
    rows = list(read(**paths))
    columns = {name: [row.get(name) for row in rows] for name in dict.fromkeys(key for row in rows for key in row)}
    try:
        return Dataset.from_dict(columns, split=NamedSplit(split))
    except ArrowException as error:
        raise ValueError(f"{paths['path']}: the values of a column differ in type. {error}") from error


def _read_pairs(source: Path, target: Path) -> Iterator[dict[str, str]]:
    lines = (read_lines(source), read_lines(target))
    for number, pair in enumerate(zip_longest(*lines), 1):
        if None in pair:
            counts = [number - (text is None) + sum(1 for _ in rest) for text, rest in zip(pair, lines, strict=True)]
            raise ValueError(
                f"{source} has {counts[0]} lines but {target} has {counts[1]}: their lines must be pairs."
            )
        yield {"source": pair[0], "target": pair[1]}


def read_lines(path: Path) -> Iterator[str]:
    """
    The lines of a file in UTF-8, which may be packed (`.gz`). Only line feeds end one: `str.splitlines` would cut at
    other marks within a text too.

    Raises:
        ValueError: If a line is not valid UTF-8, or the file cannot be unpacked.
    """
    with open_unpacked(path) as file:
        for number, line in enumerate(file, 1):
            try:
                text = line.decode()
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path}, line {number} is not valid UTF-8: {error.reason} at byte {error.start} of the line. "
                    "Save the file as UTF-8."
                ) from error
            yield (text.removeprefix("\ufeff") if number == 1 else text).rstrip("\r\n")


def _read_texts(path: Path) -> Iterator[dict[str, str]]:
    return ({"text": line} for line in read_lines(path))


def _read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise ValueError(f"{path}, line {number} must be a JSON object, got {line[:40]!r}.")
        try:
            json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:  # JSON may hold half a character, and no text
            half = ascii(error.object[error.start])
            raise ValueError(f"{path}, line {number} holds half a character, {half}.") from error
        yield row


def read_table(path: Path, **dialect: Any) -> Iterator[dict[str, str]]:
    """
    The rows of a table whose first line has the columns' names.

    Args:
        path (`Path`):
            A file in UTF-8.
        dialect:
            Goes to `csv.reader`.

    Raises:
        ValueError: If a line is not valid UTF-8, cannot be parsed, or has more or fewer fields than the first.
    """
    reader = csv.reader((line + "\n" for line in read_lines(path)), strict=True, **dialect)
    names = None
    try:
        for row in reader:
            if names is None:
                names = [name.strip() for name in row]
                if len(set(names)) < len(names):
                    raise ValueError(f"{path}, line 1 names a column twice: {names}.")
            elif row and len(row) != len(names):
                raise ValueError(
                    f"{path}, line {reader.line_num}: {len(row)} fields, but the first line names {len(names)}."
                )
            elif row:
                yield dict(zip(names, row, strict=True))
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}") from error


_ROWS_OF = {
    ".jsonl": _read_json_lines,
    ".json": _read_json_lines,
    ".csv": read_table,
    ".tsv": partial(read_table, delimiter="\t", quoting=csv.QUOTE_NONE),
}


def get_split(
    splits: DatasetDict | IterableDatasetDict, name: str, max_samples: int | None = None, argument: str = "split"
) -> Dataset | IterableDataset:
    """
    The split `name`, or its first `max_samples` rows; `argument` is what says the name.

    Raises:
        ValueError: If there is no such split, or it is empty; of a stream only its rows will tell.
    """
    if name not in splits:
        stream = isinstance(splits, IterableDatasetDict)
        advice = " A stream is not divided: name one that it has, or leave out `streaming`." if stream else ""
        raise ValueError(f"`{argument}`: the data set has no split {name!r}. It has {sorted(splits)}.{advice}")
    dataset = splits[name]
    if isinstance(dataset, IterableDataset):
        return dataset if max_samples is None else dataset.take(max_samples)
    if len(dataset) == 0:
        raise ValueError(f"The split {name!r} is empty.")
    return dataset if max_samples is None else dataset.select(range(min(max_samples, len(dataset))))
