"""Data that is read as it comes: every row once a pass, in an order that a run can take up anywhere."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset, DatasetDict, IterableDataset
from torch.utils.data import DataLoader

from hf_attention.scenes import make_scenes
from hf_attention.training.data.arguments import StreamingArguments
from hf_attention.training.data.image_columns import read_image
from hf_attention.training.data.reading import get_split, load_splits, load_text_splits
from hf_attention.training.data.sampling import LengthBatchSampler
from hf_attention.training.data.streaming import BatchStream, first_rows, streamed_dataloader
from hf_attention.training.data.texts import text_pairs
from hf_attention.training.loop.streamed_batches import StreamedBatches


ROWS = 23


def saved(folder: Path) -> IterableDataset:
    """In three files."""
    rows = Dataset.from_dict({"number": list(range(ROWS))})
    DatasetDict({"train": rows}).save_to_disk(folder, num_shards={"train": 3})
    return load_splits(str(folder), streaming=True)["train"]


def sharded(folder: Path) -> IterableDataset:
    return Dataset.from_dict({"number": list(range(ROWS))}).to_iterable_dataset(num_shards=4)


def lines(folder: Path) -> IterableDataset:
    (folder / "rows.jsonl").write_text("".join(json.dumps({"number": number}) + "\n" for number in range(ROWS)))
    return load_text_splits({"train": folder / "rows.jsonl"}, streaming=True)["train"]


def parquet(folder: Path) -> IterableDataset:
    for part, numbers in enumerate((range(9), range(9, ROWS))):
        Dataset.from_dict({"number": list(numbers)}).to_parquet(folder / f"train-{part}.parquet")
    return load_splits(str(folder), streaming=True)["train"]


SOURCES = [saved, sharded, lines, parquet]


def make_dataloader(rows: Dataset) -> DataLoader:
    """Two rows a batch, neighbours by the length that their number stands for."""
    sampler = LengthBatchSampler(rows["number"], examples_per_batch=2, bucket_batches=2, seed=3)
    return DataLoader(rows, batch_sampler=sampler, collate_fn=lambda batch: [row["number"] for row in batch])


def stream(rows: IterableDataset, buffer_size: int = 8) -> BatchStream:
    return BatchStream(rows, make_dataloader, buffer_size, steps_per_epoch=5, seed=0)


def one_pass(batches: Iterator[tuple[list[int], dict]]) -> list[int]:
    """The numbers of the next pass, which begins here."""
    numbers = []
    while len(numbers) < ROWS:
        numbers += next(batches)[0]
    return numbers


@pytest.mark.parametrize("source", SOURCES)
def test_every_row_once_a_pass(tmp_path: Path, source: Callable) -> None:
    batches = iter(stream(source(tmp_path)))
    passes = [one_pass(batches) for _ in range(3)]
    for numbers in passes:
        assert sorted(numbers) == list(range(ROWS))
        assert numbers != sorted(numbers)
    assert passes[0] != passes[1]


@pytest.mark.parametrize("source", SOURCES)
def test_it_goes_on_from_any_position(tmp_path: Path, source: Callable) -> None:
    """Also from the ends of buffers, and of a pass; and so does a stream that was resumed itself."""
    rows = source(tmp_path)
    whole = list(islice(stream(rows), 36))
    numbers = [batch for batch, _ in whole]
    for done in range(1, 31):
        position = whole[done - 1][1]
        for before in (done, done + 3):
            resumed = stream(rows)
            resumed.position = json.loads(json.dumps(position))
            found = list(islice(resumed, 3))
            assert [batch for batch, _ in found] == numbers[before : before + 3], (done, before)
            position = found[-1][1]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("processes", [2, 3])
def test_processes_share_the_rows(tmp_path: Path, source: Callable, processes: int) -> None:
    arguments = StreamingArguments(streaming=True, shuffle_buffer=8, steps_per_epoch=5)
    found: Counter = Counter()
    for process in range(processes):
        accelerator = SimpleNamespace(process_index=process, num_processes=processes)
        dataloader = streamed_dataloader(source(tmp_path / str(process)), make_dataloader, accelerator, arguments, 0)
        numbers = []
        for batch, position in dataloader:
            if position["pass"]:
                break
            numbers += batch
        assert abs(len(numbers) - ROWS / processes) < 5
        found.update(numbers)
    assert found == Counter(range(ROWS))


@pytest.fixture(autouse=True)
def folders(tmp_path: Path) -> None:
    for process in range(3):
        (tmp_path / str(process)).mkdir()


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_step_that_was_not_trained_on_comes_again(tmp_path: Path, num_workers: int) -> None:
    accelerator = SimpleNamespace(process_index=0, num_processes=1, device=torch.device("cpu"))

    def make_batches() -> StreamedBatches:
        arguments = StreamingArguments(streaming=True, shuffle_buffer=8, steps_per_epoch=5)
        rows = sharded(tmp_path)
        dataloader = streamed_dataloader(rows, make_dataloader, accelerator, arguments, 0, num_workers)
        return StreamedBatches(dataloader, accelerator, accumulation=2)

    def numbers(shares: list) -> list[list[int]]:
        assert all(share.counts for share in shares)
        return [share.batch for share in shares]

    state, steps = torch.get_rng_state(), []
    batches = make_batches()
    for epoch in range(3):
        for shares in batches.epoch(epoch):
            steps.append(numbers(shares))
            batches.end_step()
    assert len(steps) == 15 and all(len(step) == 2 for step in steps)
    assert torch.equal(torch.get_rng_state(), state), "what dropout draws must not depend on a loader's start"

    cut = make_batches()
    epoch = cut.epoch(0)
    for _ in range(3):
        next(epoch)
        cut.end_step()
    next(epoch)  # not trained on
    resumed = make_batches()
    resumed.load_state_dict(json.loads(json.dumps(cut.state_dict())))
    assert [numbers(shares) for shares in resumed.epoch(0, done=3)] == steps[3:5]


def test_errors_of_rows_tell_where_they_are() -> None:
    rows = Dataset.from_dict({"source": ["a"] * 5, "target": ["b", "b", "b", "", "b"]}).to_iterable_dataset()
    batches = BatchStream(rows, lambda rows: text_pairs(rows, "source", "target"), 2, 1, 0)
    batches.position["buffer"] = 1
    batches.buffer_size = 4
    with pytest.raises(ValueError, match="Among the 4 rows of the stream's buffer 1 .* Row 3 .* is no pair: 'target'"):
        next(iter(batches))
    with pytest.raises(ValueError, match="the stream, or this process's share of it, is empty"):
        next(iter(stream(IterableDataset.from_generator(lambda: iter(())))))
    with pytest.raises(ValueError, match="The split 'train' is empty"):
        first_rows(IterableDataset.from_generator(lambda: iter(()), split="train"))
    with pytest.raises(ValueError, match="comes from a run without `streaming`"):
        accelerator = SimpleNamespace(device=torch.device("cpu"))
        StreamedBatches(DataLoader(batches, batch_size=None), accelerator, 1).load_state_dict(None)


def test_two_files_of_other_lengths(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1\n2\n3\n4\n")
    (tmp_path / "b").write_text("1\n2\n")
    rows = load_text_splits({"train": (tmp_path / "a", tmp_path / "b")}, streaming=True)["train"]
    assert list(islice(rows, 2)) == [{"source": "1", "target": "1"}, {"source": "2", "target": "2"}]
    with pytest.raises(ValueError, match="a has 4 lines but .*b has 2"):
        list(rows)


def test_images_stay_encoded_until_they_are_asked_for(tmp_path: Path) -> None:
    scenes = make_scenes(train=5, validation=0, test=0, held_out=0, image_size=32)["train"]
    DatasetDict({"train": scenes}).save_to_disk(tmp_path)
    rows = get_split(load_splits(str(tmp_path), streaming=True), "train", 3)
    found = first_rows(rows)
    assert len(found) == 3 and found.features == scenes.features
    assert all(read_image(found, row, "image") == read_image(scenes, row, "image") for row in range(3))
    again = first_rows(get_split(load_splits(str(tmp_path), streaming=True), "train", 3))
    assert found._fingerprint == again._fingerprint, "stored features are found by it"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_steps": None, "num_workers": 0}, "`streaming` needs `max_steps`"),
        ({"max_steps": 3, "num_workers": 2}, "must be 0 or 1 with `streaming`.* got 2"),
    ],
)
def test_bad_arguments(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StreamingArguments(streaming=True).check(**options)
    StreamingArguments().check(**options)
    with pytest.raises(ValueError, match="`shuffle_buffer` must be at least 1, got 0"):
        StreamingArguments(shuffle_buffer=0)
