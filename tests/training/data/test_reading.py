"""Data sets, files and the pairs of texts in them: the same from every kind, and an error that names what is wrong."""

import csv
import gzip
import json
import logging
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict, Features, IterableDatasetDict, Translation, Value, load_dataset

from hf_attention.training.data.reading import get_split, load_splits, load_text_splits
from hf_attention.training.data.texts import running_texts, text_lists, text_pairs


def test_splits_that_are_not_there_are_named() -> None:
    dataset = Dataset.from_dict({"text": ["a dog"]})
    splits = DatasetDict(train=dataset, test=dataset.select([]))
    with pytest.raises(ValueError, match=r"no split 'validation'. It has \['test', 'train'\]"):
        get_split(splits, "validation")
    with pytest.raises(ValueError, match="'test' is empty"):
        get_split(splits, "test")
    stream = IterableDatasetDict({"train": dataset.to_iterable_dataset()})
    with pytest.raises(ValueError, match="no split 'validation'.*A stream is not divided: .* leave out `streaming`"):
        get_split(stream, "validation")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"text": "a"}\n{"te', "JSON parse error"),
        (b"", "empty, or it has no data"),
    ],
)
def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "train.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match=f"'{tmp_path}' cannot be read: .*{reason}"):
        load_splits(str(tmp_path))


def test_a_text_of_other_bytes_is_named_by_its_row(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(b'{"text": "a"}\n{"text": "\x87"}\n{"text": "b"}\n')
    split = load_splits(str(tmp_path))["train"]
    for read in (running_texts, lambda *names: text_lists(*names, "captions_column")):
        with pytest.raises(ValueError, match="Row 1 of the column 'text' is not valid UTF-8"):
            read(split, "text")


def test_splits_load_from_a_saved_folder(tmp_path: Path) -> None:
    DatasetDict(train=Dataset.from_dict({"text": ["a"]})).save_to_disk(tmp_path / "all")
    Dataset.from_dict({"text": ["a"]}).save_to_disk(tmp_path / "one")
    assert load_splits(str(tmp_path / "all"))["train"]["text"][:] == ["a"]
    with pytest.raises(ValueError, match="one split without a name"):
        load_splits(str(tmp_path / "one"))


ENGLISH = ['The "old" lamp, again.', "NA", "It's 9:30 – go\u2028now!", "null"]


GERMAN = ["Wieder die „alte“ Lampe.", "Möglich", "Es ist 9:30 – los\x0bjetzt!", "Straße, 🎈"]


COLUMNS = {"source_column": "source", "target_column": "target"}


LANGUAGES = {"source_lang": "en", "target_lang": "de"}


def pairs(dataset: Dataset, **kwargs) -> tuple[list[str], list[str]]:
    dataset = text_pairs(dataset, **kwargs)
    assert dataset.column_names == ["source", "target"]
    return dataset["source"][:], dataset["target"][:]


def write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def write_lines(path: Path, lines: list[str]) -> str:
    return write(path, "".join(f"{line}\n" for line in lines))


def translations() -> list[dict[str, str]]:
    return [{"en": english, "de": german} for english, german in zip(ENGLISH, GERMAN, strict=True)]


def files(folder: Path) -> dict[str, tuple[str | tuple[str, str], dict[str, str]]]:
    """The same pairs in files of every kind, and how to ask for them."""
    table = folder / "table.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("source", "target"), *zip(ENGLISH, GERMAN, strict=True)])
    rows = [{"source": english, "target": german} for english, german in zip(ENGLISH, GERMAN, strict=True)]
    return {
        "lines": ((write_lines(folder / "a.en", ENGLISH), write_lines(folder / "a.de", GERMAN)), COLUMNS),
        "windows": (
            (
                write(folder / "w.en", "\ufeff" + "\r\n".join(ENGLISH) + "\r\n"),
                write(folder / "w.de", "\r\n".join(GERMAN)),
            ),
            COLUMNS,
        ),
        "csv": (str(table), COLUMNS),
        "tsv": (
            write_lines(folder / "t.tsv", ["source\ttarget", *map("\t".join, zip(ENGLISH, GERMAN, strict=True))]),
            COLUMNS,
        ),
        "columns": (write_lines(folder / "c.jsonl", [json.dumps(row) for row in rows]), COLUMNS),
        "dictionaries": (
            write_lines(folder / "d.json", [json.dumps({"translation": row}) for row in translations()]),
            LANGUAGES,
        ),
    }


def packed(file: str) -> str:
    return write(Path(f"{file}.gz"), gzip.compress(Path(file).read_bytes()))


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("kind", ["lines", "windows", "csv", "tsv", "columns", "dictionaries"])
def test_files_of_every_kind(kind: str, is_packed: bool, tmp_path: Path) -> None:
    file, names = files(tmp_path)[kind]
    if is_packed:
        file = packed(file) if isinstance(file, str) else tuple(map(packed, file))
    splits = load_text_splits({"train": file, "validation": file})
    assert set(splits) == {"train", "validation"}
    for split in splits.values():
        assert pairs(split, **names) == (ENGLISH, GERMAN)


def test_dictionaries_and_columns_of_a_data_set(tmp_path: Path) -> None:
    plain = Dataset.from_dict({"translation": translations()})
    typed = Dataset.from_dict(
        {"translation": translations()}, features=Features({"translation": Translation(["de", "en"])})
    )
    for dataset in (plain, typed):
        assert pairs(dataset, **LANGUAGES) == (ENGLISH, GERMAN)
        assert pairs(dataset, source_lang="de", target_lang="en") == (GERMAN, ENGLISH)
    typed.to_parquet(tmp_path / "data" / "train-00000-of-00001.parquet")
    assert pairs(load_splits(str(tmp_path))["train"], **LANGUAGES) == (ENGLISH, GERMAN)
    DatasetDict(train=plain).save_to_disk(tmp_path / "saved")
    assert pairs(load_splits(str(tmp_path / "saved"))["train"], **LANGUAGES) == (ENGLISH, GERMAN)
    both = plain.add_column("q", [" a ", "b", "c", "d\n"]).add_column("a", ["1", "2", "3", "4"])
    assert pairs(both, source_column="q", target_column="a", **LANGUAGES) == (
        ["a", "b", "c", "d"],
        ["1", "2", "3", "4"],
    )


UNPAIRED = [
    (["one", None, "three"], ["eins", "zwei", "drei"], "'source' has no text"),
    (["one", "two", "three"], ["eins", "", "drei"], "'target' has no text"),
    (["one", " \t", "three"], ["eins", None, "drei"], "'source' and 'target' has no text"),
]


@pytest.mark.parametrize(("source", "target", "message"), UNPAIRED)
def test_unpaired_rows_are_refused_or_counted(
    source: list, target: list, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = Dataset.from_dict({"source": source, "target": target}, split="train")
    with pytest.raises(ValueError, match=f"Row 1 of the split 'train' is no pair: {message}"):
        text_pairs(dataset, **COLUMNS)
    with caplog.at_level(logging.WARNING):
        assert pairs(dataset, drop_unpaired=True, **COLUMNS) == (["one", "three"], ["eins", "drei"])
    assert caplog.messages == ["Left out 1 of 3 rows of the split 'train': a side has no text."]


def test_nothing_is_said_where_nothing_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    dataset = Dataset.from_dict({"source": ENGLISH, "target": GERMAN})
    assert pairs(dataset, drop_unpaired=True, **COLUMNS) == (ENGLISH, GERMAN)
    assert not caplog.messages
    with pytest.raises(ValueError, match="None of the 2 rows of the data set is a pair"):
        text_pairs(Dataset.from_dict({"source": ["", "a"], "target": ["b", " "]}), drop_unpaired=True, **COLUMNS)


def test_a_language_missing_in_a_row(tmp_path: Path) -> None:
    rows = [{"translation": {"en": "one", "de": "eins"}}, {"translation": {"en": "two"}}, {"translation": None}, {}]
    file = write_lines(tmp_path / "rows.jsonl", [json.dumps(row) for row in rows])
    split = load_text_splits({"train": file})["train"]
    with pytest.raises(ValueError, match="Row 1 of the split 'train' is no pair: 'de' has no text"):
        text_pairs(split, **LANGUAGES)
    assert pairs(split, drop_unpaired=True, **LANGUAGES) == (["one"], ["eins"])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({}, r"`source_column` and `target_column`, or `source_lang`.*\['translation', 'number', 'text'\]"),
        ({"source_column": "text"}, "belong together, got 'text' and None"),
        ({"source_column": "texts", "target_column": "text"}, r"`source_column` is 'texts', but .*\['translation', "),
        ({"source_column": "text", "target_column": "reply"}, "`target_column` is 'reply'"),
        ({"source_column": "text", "target_column": "number"}, "Row 0 of the data set: 'number' is 5, not a string"),
        ({"source_lang": "en", "target_lang": "fr"}, r"`target_lang` is 'fr', but .* languages are \['de', 'en'\]"),
        ({"source_lang": "xx", "target_lang": "de"}, "`source_lang` is 'xx'"),
        ({"source_lang": "en"}, "Name the texts"),
    ],
)
def test_unknown_names(kwargs: dict, message: str) -> None:
    dataset = Dataset.from_dict({"translation": translations(), "number": [5] * 4, "text": ENGLISH})
    with pytest.raises(ValueError, match=message):
        text_pairs(dataset, **kwargs)


def test_columns_that_are_no_translations() -> None:
    with pytest.raises(ValueError, match=r"are for a column 'translation', but .*\['source'\]"):
        text_pairs(Dataset.from_dict({"source": ENGLISH}), **LANGUAGES)
    strings = Dataset.from_dict({"translation": ENGLISH}, features=Features({"translation": Value("string")}))
    with pytest.raises(ValueError, match="holds Value.* not a text for each language"):
        text_pairs(strings, **LANGUAGES)


def test_files_of_different_lengths(tmp_path: Path) -> None:
    source, target = write_lines(tmp_path / "a.en", ENGLISH), write_lines(tmp_path / "a.de", [*GERMAN, ""])
    with pytest.raises(ValueError, match=r"a\.en has 4 lines but .*a\.de has 5"):
        load_text_splits({"train": (source, target)})


BROKEN = "fine\nstill fine\nbroken \udcff here\n".encode(errors="surrogateescape")


@pytest.mark.parametrize("name", ["broken.csv", "broken.tsv", "broken.jsonl", ("fine.en", "broken.de")])
def test_invalid_utf8(name: str | tuple[str, str], tmp_path: Path) -> None:
    names = [name] if isinstance(name, str) else list(name)
    start = b'{"a": "b"}\n{"a": "c"}\n{"a": "\xff"}\n' if name == "broken.jsonl" else BROKEN
    paths = [write(tmp_path / file, start if "broken" in file else "1\n2\n3\n") for file in names]
    with pytest.raises(ValueError, match=r"broken\.\w+, line 3 is not valid UTF-8: .* at byte 7 of the line"):
        load_text_splits({"train": paths[0] if len(paths) == 1 else paths})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"a": "b"}\n\n{"a": \n', r"a\.jsonl, line 3 is not JSON"),
        ("a.json", '["a", "b"]\n', r"a\.json, line 1 must be a JSON object"),
        ("a.jsonl", '{"a": "b"}\n{"a": "\\ud83c"}\n', r"a\.jsonl, line 2 holds half a character, '\\ud83c'"),
        ("a.csv.gz", "a,b\n", r"a\.csv\.gz cannot be unpacked: Not a gzipped file"),
        ("a.jsonl.gz", gzip.compress(b'{"a": "b"}' * 9, mtime=0)[:-9], r"a\.jsonl\.gz cannot be unpacked: "),
        ("a.jsonl", '{"a": "b"}\n{"a": 3}\n', r"a\.jsonl: the values of a column differ in type"),
        (
            "a.csv",
            'source,target\none,eins\ntwo,"zwei", drei\n',
            r"a\.csv, line 3: 3 fields, but the first line names 2",
        ),
        ("a.csv", 'source,target\none,"eins\n', r"a\.csv, line 2: unexpected end of data"),
        ("a.tsv", "source\tsource\na\tb\n", r"a\.tsv, line 1 names a column twice"),
        ("a.txt", "one\n", r"a\.txt must end in one of .*\.jsonl.* pass two files"),
    ],
)
def test_files_that_cannot_be_read(name: str, content: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        load_text_splits({"train": write(tmp_path / name, content)})


def test_a_file_is_a_data_set_of_one_split(tmp_path: Path) -> None:
    for name, content, rows in (
        ("a.csv", "en,de\na,b\n", [{"en": "a", "de": "b"}]),
        ("a.jsonl.gz", gzip.compress(b'{"text": "a"}\n'), [{"text": "a"}]),
        ("a[1].txt", "a b\rc\n\nd", [{"text": "a b\rc"}, {"text": ""}, {"text": "d"}]),
    ):
        file = write(tmp_path / name, content)
        assert load_splits(file)["train"].to_list() == rows == list(load_splits(file, streaming=True)["train"])
    with pytest.raises(ValueError, match="is the file .*a.xlsx, which must end in one of .*csv"):
        load_splits(write(tmp_path / "a.xlsx", "a"))
    with pytest.raises(ValueError, match=r"a\.txt, line 2 is not valid UTF-8"):
        load_splits(write(tmp_path / "a.txt", b"a\n\xff\n"))
    with pytest.raises(ValueError, match="`dataset_config_name` is 'b', but the file .*a.csv has no configurations"):
        load_splits(str(tmp_path / "a.csv"), "b")
    # Columns may be named after the languages.
    dataset = load_splits(str(tmp_path / "a.csv"))["train"]
    assert pairs(dataset, source_lang="de", target_lang="en") == (["b"], ["a"])
    both = dataset.add_column("translation", [{"en": "c", "de": "d"}])
    assert pairs(both, source_lang="de", target_lang="en") == (["d"], ["c"])


def test_files_that_make_no_split(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a", ENGLISH)
    with pytest.raises(ValueError, match="'train' needs one file, or two .* got 3"):
        load_text_splits({"train": (file, file, file)})
    with pytest.raises(ValueError, match="b.jsonl and .* of the split 'train': two files are plain text"):
        load_text_splits({"train": (write_lines(tmp_path / "b.jsonl", ENGLISH), file)})
    for streaming in (False, True):
        for paths in (str(tmp_path / "missing.csv"), (file, tmp_path / "missing")):
            with pytest.raises(FileNotFoundError, match="no file .*missing.*, which the split 'train'"):
                load_text_splits({"train": paths}, streaming)
        with pytest.raises(IsADirectoryError, match="'train' .* is a folder"):
            load_text_splits({"train": (file, tmp_path)}, streaming)


def test_real_data(hf_attention_data: Path) -> None:
    multi30k = load_dataset(str(hf_attention_data / "data" / "multi30k"))["validation"]
    pair = text_pairs(multi30k, source_lang="en", target_lang="de")
    assert len(pair) == len(multi30k)
    with pytest.raises(ValueError, match=r"languages are \['cs', 'de', 'en', 'fr'\]"):
        text_pairs(multi30k, source_lang="en", target_lang="ko")
