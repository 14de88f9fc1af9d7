"""Data files with something wrong in them: each is read as it is, or refused by the file, the row or the column."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from common.scripts import run_script
from hypothesis import strategies as st
from PIL import Image

from .cases import bounded, changed_bytes, odd_pictures, odd_values
from .verdict import Verdict


ROWS = 8
TINY = {"embedding_size": 4, "hidden_size": 4, "min_count": 1, "num_train_epochs": 1, "dry_run": True}
TINY |= {"dataloader_num_workers": 0}  # of those torch shows a traceback within a traceback
BACKBONE = {"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8], "depths": [1], "layer_type": "basic"}


class Task(NamedTuple):
    """
    Args:
        script (`str`): Trains for it.
        row (`Callable`): The row of a number.
        options (`Callable`): The script's options, of a folder in which the data lie in a folder `data`.
    """

    script: str
    row: Callable[[int], dict[str, Any]]
    options: Callable[[Path], dict[str, Any]]

    @property
    def file(self) -> str:
        return "metadata.jsonl" if "file_name" in self.row(0) else "data.jsonl"


def of_folder(**options: Any) -> Callable[[Path], dict[str, Any]]:
    return lambda folder: {"dataset_name": folder / "data", **options}


def of_files(folder: Path) -> dict[str, Any]:
    files = {f"{split}_files": folder / "data" / split / "data.jsonl" for split in ("train", "validation")}
    return {**files, "source_column": "source", "target_column": "target", "encoder_hidden_size": 4}


def of_pictures(**options: Any) -> Callable[[Path], dict[str, Any]]:
    def made(folder: Path) -> dict[str, Any]:
        (folder / "config.json").write_text(json.dumps(BACKBONE))
        sizes = {"attention_size": 4, "memory_size": 4, "image_size": 32}
        folders = {"dataset_name": folder / "data", "features_dir": folder / "features"}
        return {**folders, "backbone_config": folder / "config.json", **sizes, **options}

    return made


TASKS = {
    "train_lm": Task(
        "train_lm", lambda number: {"text": f"the dog {number} runs ."}, of_folder(columns=2, eval_columns=1)
    ),
    "train_seq2seq": Task(
        "train_seq2seq",
        lambda number: {"source": f"a dog {number}", "target": f"ein hund {number}"},
        of_folder(source_column="source", target_column="target", encoder_hidden_size=4),
    ),
    "train_seq2seq, files": Task(
        "train_seq2seq", lambda number: {"source": f"a dog {number}", "target": f"ein hund {number}"}, of_files
    ),
    "train_captioner": Task(
        "train_captioner",
        lambda number: {"file_name": f"{number}.png", "captions": [f"a dog {number}", "a cat"]},
        of_pictures(),
    ),
    "train_vqa": Task(
        "train_vqa",
        lambda number: {
            "file_name": f"{number}.png",
            "question": f"what is {number} ?",
            "answer": f"{number % 3} dogs",
        },
        of_pictures(encoder_hidden_size=4, joint_size=4),
    ),
}
over_tasks = pytest.mark.parametrize("name", TASKS)
WITH_PICTURES = [name for name, task in TASKS.items() if "file_name" in task.row(0)]


def attempt(verdict: Verdict, name: str, kind: str, change: object, apply: Callable[[Path], None]) -> None:
    """Trains on data that a function has changed in their folder."""
    task = TASKS[name]
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        for split in ("train", "validation"):
            (folder / "data" / split).mkdir(parents=True)
            rows = [task.row(number) for number in range(ROWS)]
            (folder / "data" / split / task.file).write_text("".join(json.dumps(row) + "\n" for row in rows))
            for row in rows:
                if "file_name" in row:
                    Image.new("RGB", (32, 32), "red").save(folder / "data" / split / row["file_name"])
        apply(folder / "data")
        options = {**TINY, **task.options(folder), "output_dir": folder / "run"}
        words = ["row", "Row", "line", "column", "split", ".jsonl", ".png", str(folder / "data"), *task.row(0)]
        verdict.attempt(f"{kind}: {name}", change, lambda: run_script(task.script, **options), words)


@over_tasks
def test_odd_values(verdict: Verdict, name: str) -> None:
    task = TASKS[name]

    @bounded(30)
    def try_one(split: str, row: int, column: str, value: Any, everywhere: bool) -> None:
        def apply(data: Path) -> None:
            file = data / split / task.file
            rows = [json.loads(line) for line in file.read_text().splitlines()]
            for number in range(ROWS) if everywhere else [row]:
                if value == "gone":
                    del rows[number][column]
                else:
                    rows[number][column] = value
            file.write_text("".join(json.dumps(each) + "\n" for each in rows))

        place = f"{split} {'all' if everywhere else row} {column}"
        attempt(verdict, name, "odd value", f"{place} {value!r:.60}", apply)

    try_one(
        split=st.sampled_from(["train", "validation"]),
        row=st.integers(0, ROWS - 1),
        column=st.sampled_from(sorted(task.row(0))),
        value=st.just("gone") | odd_values,
        everywhere=st.booleans(),
    )


@over_tasks
def test_damaged_files(verdict: Verdict, name: str) -> None:
    task = TASKS[name]

    @bounded(15)
    def try_one(split: str, change: Callable[[bytes], bytes]) -> None:
        def apply(data: Path) -> None:
            file = data / split / task.file
            file.write_bytes(change(file.read_bytes()))

        attempt(verdict, name, "damaged file", f"{split} {change}", apply)

    try_one(split=st.sampled_from(["train", "validation"]), change=changed_bytes)


@pytest.mark.parametrize("name", WITH_PICTURES)
def test_odd_pictures(verdict: Verdict, name: str) -> None:
    @bounded(20)
    def try_one(split: str, row: int, picture: tuple[str, bytes]) -> None:
        def apply(data: Path) -> None:
            (data / split / f"{row}.png").write_bytes(picture[1])

        attempt(verdict, name, "odd picture", f"{split} {row} {picture[0]}", apply)

    try_one(split=st.sampled_from(["train", "validation"]), row=st.integers(0, ROWS - 1), picture=odd_pictures())
