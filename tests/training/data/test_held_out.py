"""Validation splits that are made where there is none."""

import logging

import pytest
from datasets import Dataset, DatasetDict

from hf_attention.training.data.held_out import HeldOutArguments, hold_out, with_validation_split


NAMES = ("train", "validation", "test")


def rows(count: int) -> Dataset:
    return Dataset.from_dict({"text": [str(number) for number in range(count)]})


def test_what_belongs_together_stays_together() -> None:
    ids = [f"image{number % 20}" for number in range(90)]
    kept, held_out = hold_out(ids, 0.25, seed=3)
    assert sorted([*kept, *held_out]) == list(range(90))
    assert not {ids[row] for row in kept} & {ids[row] for row in held_out}
    assert len({ids[row] for row in held_out}) == 5
    assert hold_out(ids, 0.25, seed=3) == (kept, held_out) != hold_out(ids, 0.25, seed=4)
    with pytest.raises(ValueError, match="one side empty"):
        hold_out(ids, 0.01)


def test_a_validation_split_is_made_of_training_rows(caplog: pytest.LogCaptureFixture) -> None:
    splits = DatasetDict(train=rows(40), test=rows(2))
    with caplog.at_level(logging.WARNING):
        made = with_validation_split(splits, *NAMES, HeldOutArguments(validation_seed=7))
    assert "holding out 4 of the 40 rows of training, chosen by `validation_seed` 7" in caplog.text
    assert set(made) == {*NAMES} and len(made["validation"]) == 4 and made["test"] is splits["test"]
    assert sorted([*made["train"]["text"], *made["validation"]["text"]]) == sorted(splits["train"]["text"])
    again = with_validation_split(splits, *NAMES, HeldOutArguments(validation_seed=7))
    assert again["validation"]["text"][:] == made["validation"]["text"][:]


def test_of_a_running_text_the_end_is_held_out() -> None:
    made = with_validation_split(DatasetDict(train=rows(20)), *NAMES, HeldOutArguments(), is_running_text=True)
    assert made["validation"]["text"][:] == ["18", "19"] and made["train"]["text"][:] == list(map(str, range(18)))


@pytest.mark.parametrize("validation", ["validation", "dev"])
def test_a_split_that_may_be_meant_is_left_to_the_user(validation: str) -> None:
    for splits in (DatasetDict(train=rows(9), validation=rows(1)), DatasetDict(train=rows(9), dev=rows(1))):
        assert with_validation_split(splits, "train", validation, "test", HeldOutArguments()) is splits
    splits = DatasetDict(train=rows(9), validation=rows(1))
    assert with_validation_split(splits, "train", "validation", "validation", HeldOutArguments()) is splits
