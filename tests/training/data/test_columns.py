"""Columns that are called otherwise than our defaults."""

import logging

import pytest
from datasets import Dataset, DatasetDict, Features, Image, IterableDataset, IterableDatasetDict, Value

from hf_attention.training.data.columns import check_column, with_usual_names


def splits(*names: str) -> DatasetDict:
    features = {name: Image() if name.startswith("image") or name == "photo" else Value("string") for name in names}
    rows = Dataset.from_dict({name: ["a.png"] for name in names}, features=Features(features))
    return DatasetDict(train=rows, test=rows)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("there", "asked", "expected"),
    [
        (("photo", "text"), ("image", "captions"), {"image", "captions"}),
        (("image", "caption"), ("image", "captions"), {"image", "captions"}),
        (("caption", "id"), ("text",), {"text", "id"}),
        (("image", "question", "answers"), ("image", "question", "answer"), {"image", "question", "answer"}),
        (("image", "caption", "text"), ("image", "captions"), {"image", "caption", "text"}),
        (("image_1", "image_2"), ("image",), {"image_1", "image_2"}),
        (("image", "caption"), ("image", "sentences"), {"image", "caption"}),
        (("captions", "text"), ("captions",), {"captions", "text"}),
        (("file_name", "text"), ("image", "captions"), {"image", "captions"}),
        (("path", "url"), ("image",), {"path", "url"}),
        (("photo", "url"), ("image",), {"image", "url"}),
    ],
)
def test_a_column_is_found_where_one_alone_can_be_meant(
    there: tuple, asked: tuple, expected: set, streaming: bool, caplog: pytest.LogCaptureFixture
) -> None:
    given = splits(*there)
    if streaming:
        given = IterableDatasetDict({name: rows.to_iterable_dataset() for name, rows in given.items()})
    with caplog.at_level(logging.WARNING):
        found = with_usual_names(given, *asked)
    assert all(set(rows.column_names) == expected for rows in found.values())
    said = {record.args for record in caplog.records}
    assert {name for name, _ in said} == expected - {*there}
    assert {name for _, name in said} == {*there} - expected and len(said) == len(caplog.records)


def test_columns_of_which_several_can_be_meant_are_named() -> None:
    given = splits("path", "url", "caption", "text")["train"]
    with pytest.raises(ValueError, match="`captions_column` is 'captions', but .* 'caption' and 'text' may be meant"):
        check_column(given, "captions", "captions_column")
    with pytest.raises(ValueError, match="'path' and 'url' may be meant: `image_column` says which"):
        check_column(given, "image", "image_column")


def test_a_stream_that_does_not_know_its_columns_is_left() -> None:
    stream = IterableDataset.from_generator(lambda: iter([{"text": "a"}]))
    assert list(with_usual_names(IterableDatasetDict(train=stream), "captions")["train"]) == [{"text": "a"}]
