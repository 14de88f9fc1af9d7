"""Reading data sets: splits, columns, texts and images, with errors that name what is wrong."""

import ast
import csv
import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

from datasets import (
    Dataset,
    DatasetDict,
    Image,
    IterableDataset,
    IterableDatasetDict,
    NamedSplit,
    Translation,
    load_dataset,
    load_from_disk,
)
from PIL import Image as PILImage
from pyarrow import ArrowException

from ...models.pictures import as_rgb
from .columns import usual_columns
from .packed import open_unpacked, unpacked_suffix


logger = logging.getLogger(__name__)

# The column of dictionaries, one text a language, that translation data sets on the Hub have.
TRANSLATION_COLUMN = "translation"
# Where a dictionary has the text of an answer or a caption.
TEXT_KEYS = ("answer", "caption", "raw")
# What yields the rows of a split, and the files that it reads, by argument.
Reader = tuple[Callable[..., Iterator[dict[str, Any]]], dict[str, Path]]

# The options that leave out rows without a text.
DROPPING = {"answer_column": "drop_unanswered", "captions_column": "drop_uncaptioned"}


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
                    f"{path}, line {number} is not valid UTF-8: {error.reason} at byte {error.start} of the line."
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
    splits: DatasetDict | IterableDatasetDict, name: str, max_samples: int | None = None
) -> Dataset | IterableDataset:
    """
    The split `name`, or its first `max_samples` rows.

    Raises:
        ValueError: If there is no such split, or it is empty; of a stream only its rows will tell.
    """
    if name not in splits:
        stream = isinstance(splits, IterableDatasetDict)
        advice = " A stream is not divided: name one that it has, or leave out `streaming`." if stream else ""
        raise ValueError(f"The data set has no split {name!r}. It has {sorted(splits)}.{advice}")
    dataset = splits[name]
    if isinstance(dataset, IterableDataset):
        return dataset if max_samples is None else dataset.take(max_samples)
    if len(dataset) == 0:
        raise ValueError(f"The split {name!r} is empty.")
    return dataset if max_samples is None else dataset.select(range(min(max_samples, len(dataset))))


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


def check_images(dataset: Dataset, column: str, argument: str = "image_column") -> None:
    """Raises a ValueError if `column` is missing or does not hold images."""
    check_column(dataset, column, argument)
    if not isinstance(dataset.features[column], Image):
        raise ValueError(f"`{argument}` is {column!r}, which holds {dataset.features[column]}, not images.")


def text_lists(dataset: Dataset, column: str, argument: str) -> list[list[str]]:
    """
    The texts of each row, from a column of strings, or of lists of strings or of dictionaries that hold one (VQAv2's
    answers, COCO's captions: `TEXT_KEYS`); a string may be such a list as JSON or Python writes it. Blank ones are
    left out, and a warning says how many.

    Raises:
        ValueError: If the column is missing or holds something else, or a row has no text.
    """
    check_column(dataset, column, argument)
    rows, blank = [], 0
    for number, value in enumerate(column_values(dataset, column)):
        texts = _texts(value, f"`{argument}` is {column!r}, whose row {number}")
        rows.append([text for text in texts if text])
        blank += len(texts) - len(rows[-1])
        if not rows[-1]:
            flag = DROPPING[argument]
            raise ValueError(
                f"Row {number} of the column {column!r} (`{argument}`) has no text. `{flag}` leaves such rows out."
            )
    if blank:
        logger.warning("Left out %d texts of the column %r that are empty or white space.", blank, column)
    return rows


def drop_textless(dataset: Dataset, column: str, argument: str) -> Dataset:
    """
    The rows of which a column has a text, as [`text_lists`] reads it; a warning says how many the others are.

    Raises:
        ValueError: If the column is missing or holds something else, or no row is left.
    """
    check_column(dataset, column, argument)
    values = enumerate(column_values(dataset, column))
    kept = [row for row, value in values if any(_texts(value, f"`{argument}` is {column!r}, whose row {row}"))]
    if not kept:
        raise ValueError(f"None of the {len(dataset)} rows has a text in the column {column!r} (`{argument}`).")
    if len(kept) == len(dataset):
        return dataset
    logger.warning("Left out %d of %d rows: %r has no text.", len(dataset) - len(kept), len(dataset), column)
    return dataset.select(kept)


def _texts(value: Any, where: str) -> list[str]:
    """The texts that a value of a column holds, without white space at the ends, empty where one is missing."""
    if isinstance(value, dict):  # older data sets turn a list of dictionaries inside out
        value = next((value[key] for key in TEXT_KEYS if isinstance(value.get(key), list)), value)
    values = value if isinstance(value, list) else [value]
    values = [each for value in values for each in (_in_cell(value, where) if isinstance(value, str) else [value])]
    texts = [
        next((each[key] for key in TEXT_KEYS if key in each), each) if isinstance(each, dict) else each
        for each in values
    ]
    if not all(text is None or isinstance(text, str) for text in texts):
        raise ValueError(f"{where} is {value!r}: neither a string nor a list of strings.")
    return ["" if text is None else text.strip() for text in texts]


def _in_cell(text: str, where: str) -> list[Any]:
    """What a cell of a table holds, be it a list as JSON or Python writes it, which no other text looks like."""
    if re.fullmatch(r"""\s*\[\s*["'{].*["'}]\s*\]\s*""", text, re.DOTALL) is None:
        return [text]
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        if re.search(r"""["']\s*["']""", text) is None:  # which Python would join
            return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        pass
    raise ValueError(f"{where} is {text!r}: a list, but neither as JSON nor as Python writes it.")


def running_texts(dataset: Dataset, column: str, drop_missing: bool = False) -> list[str]:
    """
    The texts of a column as they are, blank ones too; with `drop_missing` without the rows that have none, which a
    warning counts.

    Raises:
        ValueError: If the column is missing, or a row holds no string.
    """
    check_column(dataset, column, "text_column")
    texts = []
    for number, text in enumerate(column_values(dataset, column)):
        if isinstance(text, str):
            texts.append(text)
        elif text is not None or not drop_missing:
            hint = " `drop_missing` leaves such rows out." if text is None else ""
            raise ValueError(f"`text_column` is {column!r}, whose row {number} is {text!r}, not a string.{hint}")
    if len(texts) < len(dataset):
        logger.warning("Left out %d of %d rows: %r has no text.", len(dataset) - len(texts), len(dataset), column)
    return texts


def text_pairs(
    dataset: Dataset,
    source_column: str | None = None,
    target_column: str | None = None,
    source_lang: str | None = None,
    target_lang: str | None = None,
    drop_unpaired: bool = False,
) -> Dataset:
    """
    The pairs of texts of a split, from two columns of strings, or from two languages of a column `translation`.

    Args:
        dataset (`Dataset`):
            The split.
        source_column, target_column (`str`, *optional*):
            Two columns of strings. They come before the languages where both are given.
        source_lang, target_lang (`str`, *optional*):
            Two languages of the dictionaries in the column `translation`, or two columns that are named so.
        drop_unpaired (`bool`, *optional*, defaults to `False`):
            Leaves out the rows of which a side is missing, empty or white space, and logs a warning that says how
            many they are. Otherwise such a row is an error.

    Returns:
        `Dataset`: With the columns `source` and `target`, without white space at the ends of the texts.

    Raises:
        ValueError:
            If neither two columns nor two languages are named, or there are none of those names, a text is no string,
            a row is unpaired, or no row is left. Rows are counted from 0.
    """
    where = f"the split {str(dataset.split)!r}" if dataset.split else "the data set"
    if not (source_column or target_column) and has_language_columns(dataset, source_lang, target_lang):
        source_column, target_column = source_lang, target_lang
    if source_column and target_column:
        names = (source_column, target_column)
        check_column(dataset, source_column, "source_column")
        check_column(dataset, target_column, "target_column")
        sides = zip(column_values(dataset, source_column), column_values(dataset, target_column), strict=True)
    elif source_column or target_column:
        raise ValueError(
            "`source_column` and `target_column` belong together, "
            f"got {source_column!r} and {target_column!r}. The data set's columns are {dataset.column_names}."
        )
    elif source_lang and target_lang:
        names = (source_lang, target_lang)
        _check_languages(dataset, source_lang=source_lang, target_lang=target_lang)
        rows = ({} if row is None else row for row in column_values(dataset, TRANSLATION_COLUMN))
        sides = ((row.get(source_lang), row.get(target_lang)) for row in rows)
    else:
        raise ValueError(
            "Name the texts: `source_column` and `target_column`, or `source_lang` and `target_lang` of a column "
            f"{TRANSLATION_COLUMN!r}. The data set's columns are {dataset.column_names}."
        )
    pairs = {"source": [], "target": []}
    for number, pair in enumerate(sides):
        for name, text in zip(names, pair, strict=True):
            if text is not None and not isinstance(text, str):
                raise ValueError(f"Row {number} of {where}: {name!r} is {text!r}, not a string.")
        blank = [name for name, text in zip(names, pair, strict=True) if text is None or not text.strip()]
        if not blank:
            for texts, text in zip(pairs.values(), pair, strict=True):
                texts.append(text.strip())
        elif not drop_unpaired:
            raise ValueError(
                f"Row {number} of {where} is no pair: {' and '.join(map(repr, blank))} has no text. "
                "`drop_unpaired` leaves such rows out."
            )
    dropped = len(dataset) - len(pairs["source"])
    if dropped == len(dataset):
        raise ValueError(f"None of the {dropped} rows of {where} is a pair of texts.")
    if dropped:
        logger.warning("Left out %d of %d rows of %s: a side has no text.", dropped, len(dataset), where)
    return Dataset.from_dict(pairs, split=dataset.split)


def has_language_columns(dataset: Dataset, *languages: str | None) -> bool:
    """Whether a data set has a column for each of the languages, and none of dictionaries with all of them."""
    return TRANSLATION_COLUMN not in dataset.column_names and set(languages) <= set(dataset.column_names)


def _check_languages(dataset: Dataset, **arguments: str) -> None:
    feature = dataset.features.get(TRANSLATION_COLUMN)
    if feature is None:
        raise ValueError(
            f"`source_lang` and `target_lang` are for a column {TRANSLATION_COLUMN!r}, but the data set's columns are "
            f"{dataset.column_names}. Name two of them as `source_column` and `target_column`."
        )
    if isinstance(feature, Translation):
        languages = list(feature.languages)
    elif isinstance(feature, dict):
        languages = list(feature)
    else:
        raise ValueError(f"The column {TRANSLATION_COLUMN!r} holds {feature}, not a text for each language.")
    for argument, language in arguments.items():
        if language not in languages:
            raise ValueError(f"`{argument}` is {language!r}, but the data set's languages are {sorted(languages)}.")


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
