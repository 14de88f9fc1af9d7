"""The forms in which data sets of pictures are handed around, beside those that `load_dataset` reads by itself."""

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from datasets import Dataset, NamedSplit, load_dataset
from pyarrow import ArrowException

from .columns import PICTURE_ENDINGS, PICTURE_NAMES
from .reading import load_text_splits, read_lines, read_table


# Where a folder has its files besides in itself, in small letters: those of COCO, of VQAv2, and of the older Flickr8k.
FOLDERS_OF_TEXTS = ("annotations", "questions", "flickr8k_text")
# How the fields of a table are divided: the first of these that makes a column of pictures of its first line.
DIALECTS: tuple[dict[str, Any], ...] = (
    {"delimiter": ","},
    {"delimiter": ";"},
    {"delimiter": "\t", "quoting": csv.QUOTE_NONE},
    {"delimiter": "|", "quoting": csv.QUOTE_NONE},  # Flickr30k's
)
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
# What DAQUAR's questions say of the file that they are about.
DAQUAR_POINTER = re.compile(r"\s*\b(in|on|of)?\s*(the|this)?\s*(image\d+)")
# Of the pictures of a split, by the words in its file's name.
SPLITS = {"train": ("train",), "validation": ("val", "dev"), "test": ("test",)}
KARPATHY_SPLITS = {"train": "train", "restval": "train", "val": "validation", "test": "test"}

Rows = Iterable[dict[str, Any]]


class Style(NamedTuple):
    """
    A form of a data set.

    Args:
        name (`str`):
            What it is called.
        patterns (`tuple[str, ...]`):
            What its files are called in a folder.
        fits (`Callable`):
            Is a file of this form?
        read (`Callable`):
            Takes the file and the name of its split, and returns the splits. In the column `image` are names of files.
        lists_all (`bool`, *optional*, defaults to `False`):
            Whether the file is meant to speak of all pictures that lie where its pictures are.
    """

    name: str
    patterns: tuple[str, ...]
    fits: Callable[[Path], bool]
    read: Callable[[Path, str], dict[str, Dataset]]
    lists_all: bool = False


class Found(NamedTuple):
    """
    A file, and its form.

    Args:
        path (`Path`):
            The file.
        style ([`Style`]):
            Its form.
        split (`str`):
            Of which split it is.
    """

    path: Path
    style: Style
    split: str

    def read(self) -> dict[str, Dataset]:
        """
        The splits that are in the file.

        Raises:
            ValueError: If the file cannot be read, or has no row.
        """
        try:
            splits = self.style.read(self.path, self.split)
        except (KeyError, TypeError, IndexError, AttributeError, ArrowException) as error:
            raise ValueError(
                f"{self.path} looks like {self.style.name}, but is not: {type(error).__name__} {error}."
            ) from error
        finally:
            _json.cache_clear()
        if not any(len(rows) for rows in splits.values()):
            raise ValueError(f"{self.path} has no row.")
        return splits


def find_styles(path: Path) -> list[Found]:
    """
    Looks for data in one of the forms that are known (`STYLES`): in a file, or in the files of a folder.

    A file is the split `train`, whatever it is called; the files of a folder are the splits that their names tell.

    Args:
        path (`Path`):
            The file or folder.

    Returns:
        `list[Found]`: A file for each split, or nothing where `load_dataset` should look.

    Raises:
        ValueError: If a file is of no form that is known, or a table without a heading, or a folder has several files
            for one split.
    """
    if path.is_file():
        style = next((style for style in STYLES if style.fits(path)), None)
        if style is None:
            _check_heading(path)
            raise ValueError(f"{path} is of no form that is known: {', '.join(style.name for style in STYLES)}.")
        return [Found(path, style, "train")]
    if _is_for_load_dataset(path):
        return []
    for style in STYLES:
        files = sorted({file for pattern in style.patterns for file in _files(path, pattern) if style.fits(file)})
        if files:
            return _one_for_each_split(files, style)
    for file in sorted({file for pattern in TABLES for file in _files(path, pattern)}):
        _check_heading(file)
    return []


def _is_for_load_dataset(folder: Path) -> bool:
    card = folder / "README.md"
    return (
        (folder / "dataset_dict.json").is_file()
        or (card.is_file() and re.search(r"^configs:", card.read_text(encoding="utf-8"), re.MULTILINE) is not None)
        or any(_names_files(file) for name in METADATA for inner in ("", "*/") for file in folder.glob(inner + name))
    )


def _names_files(metadata: Path) -> bool:
    if metadata.suffix == ".csv" and _dialect(metadata) is not DIALECTS[0]:
        return False  # datasets knows but commas
    return any(name.endswith(("file_name", "file_names")) for name in _columns(metadata))


def _files(folder: Path, pattern: str) -> Iterator[Path]:
    """The files whose names fit, small letters or capitals; without what systems hide among them."""
    return (
        file
        for place in (folder, *_folders_of_texts(folder))
        for file in place.glob("[!.]*")
        if fnmatchcase(file.name.lower(), pattern.lower()) and file.is_file()
    )


def _folders_of_texts(folder: Path) -> list[Path]:
    return [each for each in folder.iterdir() if each.name.lower() in FOLDERS_OF_TEXTS]


def _one_for_each_split(files: list[Path], style: Style) -> list[Found]:
    by_split: dict[str, list[Path]] = {}
    for file in files:
        by_split.setdefault(split_of(file), []).append(file)
    for split, several in by_split.items():
        if len(several) > 1:
            names = ", ".join(map(str, several))
            raise ValueError(f"Several files may be the split {split!r}: {names}. Give one of them as `dataset_name`.")
    return [Found(file, style, split) for split, [file] in by_split.items()]


def split_of(path: Path) -> str:
    """The split that a file's name speaks of; by default that of training."""
    words = re.findall("[a-z]+", path.name.lower())
    return next((split for word in words for split, names in SPLITS.items() if word.startswith(names)), "train")


# Is it this?


@lru_cache(maxsize=2)  # until it is read: large files are parsed once
def _json(path: Path) -> Any:
    with path.open(encoding="utf-8-sig") as file:
        return json.load(file)


def _json_of(path: Path) -> Any:
    """What a file holds, or nothing where it is no JSON, or one object a line."""
    if path.suffix.lower() != ".json":
        return None
    try:
        return _json(path)
    except (ValueError, UnicodeDecodeError):
        return None


def _first(path: Path, key: str) -> dict[str, Any]:
    """The first of the records that a JSON object has under a key."""
    content = _json_of(path)
    records = content.get(key) if isinstance(content, dict) else None
    return records[0] if isinstance(records, list) and records and isinstance(records[0], dict) else {}


def _is_karpathy(path: Path) -> bool:
    return "sentences" in _first(path, "images")


def _is_coco(path: Path) -> bool:
    return "file_name" in _first(path, "images") and "caption" in _first(path, "annotations")


def _is_vqa(path: Path) -> bool:
    return {"question", "question_id", "image_id"} <= _first(path, "questions").keys()


def _first_lines(path: Path, number: int) -> list[str]:
    return list(islice(read_lines(path), number))


def _is_daquar(path: Path) -> bool:
    lines = _first_lines(path, 2) if path.suffix.lower() == ".txt" else []
    return len(lines) == 2 and DAQUAR_POINTER.search(lines[0]) is not None and lines[0].rstrip().endswith("?")


def _is_flickr_token(path: Path) -> bool:
    lines = _first_lines(path, 1) if path.suffix.lower() in (".txt", ".token") else []
    return bool(lines) and re.match(r"[^\t]+#\d+\t", lines[0]) is not None


def _is_table(path: Path) -> bool:
    return path.suffix.lower() in READERS and _has_pictures(_columns(path))


def _has_pictures(columns: Iterable[str]) -> bool:
    return any(name.lower() in PICTURE_NAMES for name in columns)


def _columns(path: Path) -> list[str]:
    """The columns of a table."""
    suffix = path.suffix.lower()
    if suffix == ".json" and isinstance(_json_of(path), list):
        records = _json(path)
        return list(records[0]) if records and isinstance(records[0], dict) else []
    if suffix == ".parquet":
        return load_dataset("parquet", data_files=str(path), split="train", streaming=True).column_names or []
    [line] = _first_lines(path, 1) or [""]
    if suffix in (".json", ".jsonl"):
        try:
            row = json.loads(line)
        except ValueError:
            return []
        return list(row) if isinstance(row, dict) else []
    return _fields(line, _dialect(path))


def _dialect(path: Path) -> dict[str, Any]:
    """How the fields of a table are divided."""
    [line] = _first_lines(path, 1) or [""]
    return next((dialect for dialect in DIALECTS if _has_pictures(_fields(line, dialect))), DIALECTS[0])


def _check_heading(path: Path) -> None:
    """
    Raises:
        ValueError: Where a table begins with a picture, and not with the names of its columns.
    """
    if path.suffix.lower() in HEADED:
        [line] = _first_lines(path, 1) or [""]
        fields = [field for dialect in DIALECTS for field in _fields(line, dialect)]
        if any(Path(field).suffix.lower() in PICTURE_ENDINGS for field in fields):
            raise ValueError(
                f"{path} has no heading: its first line must name the columns, as image,caption, got {line[:60]!r}."
            )


def _fields(line: str, dialect: dict[str, Any]) -> list[str]:
    return [field.strip() for field in next(csv.reader([line], **dialect), [])]


# Read it


def _dataset(rows: Rows, split: str) -> Dataset:
    rows = list(rows)
    columns = {name: [row.get(name) for row in rows] for name in dict.fromkeys(key for row in rows for key in row)}
    return Dataset.from_dict(columns, split=NamedSplit(split))


def _read_karpathy(path: Path, split: str) -> dict[str, Dataset]:
    rows: dict[str, list] = {}
    for image in _json(path)["images"]:
        name = "/".join(filter(None, (image.get("filepath"), image["filename"])))
        captions = [sentence["raw"] for sentence in image["sentences"]]
        part = KARPATHY_SPLITS.get(image["split"]) if "split" in image else split
        if part is None:
            raise ValueError(f"{path} puts {name!r} into the split {image['split']!r}, not of {[*KARPATHY_SPLITS]}.")
        rows.setdefault(part, []).append({"image": name, "captions": captions})
    return {part: _dataset(each, part) for part, each in rows.items()}


def _read_coco(path: Path, split: str) -> dict[str, Dataset]:
    content = _json(path)
    captions: dict[Any, list[str]] = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        if annotation["image_id"] not in captions:
            raise ValueError(
                f"{path} has a caption of the image {annotation['image_id']!r}, which is none of its images."
            )
        captions[annotation["image_id"]].append(annotation["caption"])
    rows = ({"image": image["file_name"], "captions": captions[image["id"]]} for image in content["images"])
    return {split: _dataset(rows, split)}


def _read_vqa(path: Path, split: str) -> dict[str, Dataset]:
    questions = _json(path)
    annotations = _json(_answers_of(path))["annotations"]
    answers = {each["question_id"]: [answer["answer"] for answer in each["answers"]] for each in annotations}
    subtype = questions.get("data_subtype", "")

    def image(question: dict[str, Any]) -> str:
        number = int(question["image_id"])
        # Until 2015, pictures were called after their split.
        return f"COCO_{subtype}_{number:012d}.jpg" if subtype.endswith(("2014", "2015")) else f"{number:012d}.jpg"

    rows = (
        {"image": image(each), "question": each["question"], "answer": answers.get(each["question_id"], [])}
        for each in questions["questions"]
    )
    return {split: _dataset(rows, split)}


def _answers_of(questions: Path) -> Path:
    """The file of annotations that belongs to a file of questions: it lies near it, and speaks of the same split."""
    beside = questions.parent
    folders = {beside, *_folders_of_texts(beside), *_folders_of_texts(beside.parent)}
    files = {file for folder in folders for file in folder.glob("*annotations*.json")}
    files = sorted(file for file in files if split_of(file) == split_of(questions))
    namesake = questions.name.replace("OpenEnded_", "").replace("questions", "annotations")
    files = [file for file in files if file.name == namesake] or files
    if len(files) != 1:
        there = f"there are {', '.join(map(str, files))}" if files else "there is none"
        raise ValueError(f"{questions} needs its answers beside it, in one file *annotations*.json: {there}.")
    return files[0]


def _read_daquar(path: Path, split: str) -> dict[str, Dataset]:
    lines = [line.strip() for line in read_lines(path)]
    while lines and not lines[-1]:
        lines.pop()
    if len(lines) % 2:
        raise ValueError(f"{path} has {len(lines)} lines: a question and its answer, line by line, are two each.")
    rows = []
    for number, (question, answer) in enumerate(zip(lines[::2], lines[1::2], strict=True)):
        pointer = DAQUAR_POINTER.search(question)
        if pointer is None:
            raise ValueError(f"{path}, line {2 * number + 1} names no image: {question!r}.")
        asked = question.replace(pointer[0], "", 1).strip()
        rows.append({"image": pointer[3], "question": asked, "answer": answer})
    return {split: _dataset(rows, split)}


def _read_flickr_token(path: Path, split: str) -> dict[str, Dataset]:
    captions: dict[str, list[str]] = {}
    for number, line in enumerate(read_lines(path), 1):
        name, tab, caption = line.partition("\t")
        if tab:
            captions.setdefault(name.rpartition("#")[0], []).append(caption)
        elif line.strip():
            raise ValueError(f"{path}, line {number} has no tab between picture and caption: {line[:60]!r}.")
    parts = {split_of(file): file for file in path.parent.glob("*Images.txt")} or {split: None}
    chosen = {part: captions if file is None else _known(file, captions) for part, file in parts.items()}
    return {
        part: _dataset(({"image": name, "captions": captions[name]} for name in names), part)
        for part, names in chosen.items()
    }


def _known(path: Path, captions: dict[str, list[str]]) -> list[str]:
    """The pictures that a file lists, one a line."""
    names = [line.strip() for line in read_lines(path) if line.strip()]
    unknown = [name for name in names if name not in captions]
    if unknown:
        raise ValueError(f"{path} lists {unknown[0]!r}, and {len(unknown) - 1} more, that have no caption.")
    return names


def _read_text_table(path: Path, split: str) -> dict[str, Dataset]:
    return {split: _dataset(read_table(path, skipinitialspace=True, **_dialect(path)), split)}


def _read_captions_table(path: Path, split: str) -> dict[str, Dataset]:
    """Flickr8k's: of two columns, all behind the first comma is the caption where it is not quoted."""
    if _dialect(path) is not DIALECTS[0]:
        return _read_text_table(path, split)
    names, rows = None, []
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        try:
            fields = next(csv.reader([line], strict=True))
        except csv.Error as error:
            raise ValueError(f"{path}, line {number}: {error}.") from error
        if names is None:
            names = [field.strip() for field in fields]
            continue
        if len(names) == 2 and len(fields) > 2:
            fields = line.split(",", 1)
        if len(fields) != len(names):
            raise ValueError(f"{path}, line {number}: {len(fields)} fields, but the first line names {len(names)}.")
        rows.append(dict(zip(names, fields, strict=True)))
    return {split: _dataset(rows, split)}


def _read_json_table(path: Path, split: str) -> dict[str, Dataset]:
    if isinstance(_json_of(path), list):
        return {split: _dataset(_json(path), split)}
    return load_text_splits({split: path})


def _read_parquet(path: Path, split: str) -> dict[str, Dataset]:
    return load_dataset("parquet", data_files={split: str(path)})


READERS = {
    ".txt": _read_captions_table,
    ".csv": _read_text_table,
    ".tsv": _read_text_table,
    ".jsonl": _read_json_table,
    ".json": _read_json_table,
    ".parquet": _read_parquet,
}


HEADED = (".txt", ".csv", ".tsv")  # whose first line names the columns
TABLES = ("captions.txt", *(f"*{ending}" for ending in READERS if ending not in (".txt", ".parquet")))


def _read_table(path: Path, split: str) -> dict[str, Dataset]:
    return READERS[path.suffix.lower()](path, split)


STYLES = (
    Style("Karpathy's splits", ("dataset*.json",), _is_karpathy, _read_karpathy),
    Style("COCO's captions", ("captions*.json",), _is_coco, _read_coco),
    # Nobody has the answers of the test.
    Style(
        "VQAv2's questions",
        ("questions*.json", "*train*questions*.json", "*val*questions*.json"),
        _is_vqa,
        _read_vqa,
    ),
    Style("DAQUAR's questions", ("qa*.txt",), _is_daquar, _read_daquar),
    Style("Flickr8k's tokens", ("flickr*k.token.txt", "*.token"), _is_flickr_token, _read_flickr_token),
    Style(
        "a table of pictures",
        TABLES,
        _is_table,
        _read_table,
        True,
    ),
)
