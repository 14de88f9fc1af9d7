"""The texts of a split's rows: one, a list, or none, and an error that names what is wrong."""

import pytest
from datasets import Dataset

from hf_attention.training.data.texts import drop_textless, running_texts, text_lists


def test_texts_are_a_list_or_one_string() -> None:
    one = Dataset.from_dict({"text": ["a dog"]})
    several = Dataset.from_dict({"text": [["a dog", " ", "a cat "]]})
    assert text_lists(one, "text", "captions_column") == [["a dog"]]
    assert text_lists(several, "text", "captions_column") == [["a dog", "a cat"]]


@pytest.mark.parametrize(
    ("cell", "texts"),
    [
        ('["a dog", "a \\u00e9"]', ["a dog", "a é"]),
        ("['a dog', \"a cat's\"]", ["a dog", "a cat's"]),
        ("[{'answer': 'net', 'answer_id': 1}, {'answer': 'a net'}]", ["net", "a net"]),
        ('[sic] "a dog"', ['[sic] "a dog"']),
        ("[a dog]", ["[a dog]"]),
        (['["a dog", "two"]', "three"], ["a dog", "two", "three"]),
    ],
)
def test_a_cell_of_a_table_may_be_a_list(cell: str | list[str], texts: list[str]) -> None:
    assert text_lists(Dataset.from_dict({"text": [cell]}), "text", "captions_column") == [texts]


@pytest.mark.parametrize("cell", ["['a dog' 'two']", '["a dog", two"]'])
def test_a_cell_that_is_a_broken_list_is_named(cell: str) -> None:
    with pytest.raises(ValueError, match="whose row 0 is .*: a list, but neither as JSON nor as Python writes it"):
        text_lists(Dataset.from_dict({"text": [cell]}), "text", "captions_column")


def test_a_row_without_text_is_named() -> None:
    with pytest.raises(ValueError, match="Row 1 of the column 'text'"):
        text_lists(Dataset.from_dict({"text": ["a dog", " "]}), "text", "captions_column")


def test_rows_without_text_are_left_out_where_that_is_asked(caplog: pytest.LogCaptureFixture) -> None:
    dataset = Dataset.from_dict({"captions": [["a dog", None], None, ["a cat"], [" "], []]})
    with pytest.raises(ValueError, match="Row 1 .*`drop_uncaptioned`"):
        text_lists(dataset, "captions", "captions_column")
    with caplog.at_level("WARNING"):
        kept = drop_textless(dataset, "captions", "captions_column")
    assert "Left out 3 of 5 rows" in caplog.text
    assert text_lists(kept, "captions", "captions_column") == [["a dog"], ["a cat"]]
    with pytest.raises(ValueError, match="None of the 1 rows"):
        drop_textless(dataset.select([1]), "captions", "captions_column")
    coco = Dataset.from_dict({"captions": [[{"id": 1, "caption": "a dog "}, {"id": 2, "caption": "two"}]]})
    assert text_lists(coco, "captions", "captions_column") == [["a dog", "two"]]
    with pytest.raises(ValueError, match="row 0 is 3: neither"):
        text_lists(Dataset.from_dict({"captions": [3]}), "captions", "captions_column")


def test_running_texts_are_left_as_they_are() -> None:
    dataset = Dataset.from_dict({"text": [" a dog\n", "", None, "a cat"]})
    with pytest.raises(ValueError, match="row 2 is None.*`drop_missing`"):
        running_texts(dataset, "text")
    assert running_texts(dataset, "text", drop_missing=True) == [" a dog\n", "", "a cat"]
    mixed = Dataset.from_dict({"text": [None, "a dog", None, "a cat"]}).map(lambda row: {"text": [row["text"]]})
    with pytest.raises(ValueError, match=r"row 0 is \[None\], not a string"):
        running_texts(mixed, "text", drop_missing=True)
