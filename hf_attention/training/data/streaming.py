"""Training data that is read as it comes, for data sets larger than the disk."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from datasets import Dataset, Image, IterableDataset
from datasets.distributed import split_dataset_by_node
from torch.utils.data import DataLoader

from .arguments import StreamingArguments


Batch = dict[str, Any]
Position = dict[str, Any]


def first_rows(rows: IterableDataset, number: int | None = None) -> Dataset:
    """
    The first rows of a stream, or all of them, in memory; images stay encoded.

    Args:
        rows (`IterableDataset`):
            The stream.
        number (`int`, *optional*):
            How many rows; fewer where there are no more. Defaults to all.

    Raises:
        ValueError: If there are none.
    """
    found = list(islice(_encoded_images(rows), number))
    if not found:
        raise ValueError(f"The split {str(rows.split)!r} is empty.")
    return Dataset.from_list(found, features=rows.features, split=rows.split)


def streamed_dataloader(
    rows: IterableDataset,
    make_dataloader: Callable[[Dataset], DataLoader],
    accelerator: Accelerator,
    arguments: StreamingArguments,
    seed: int,
    num_workers: int = 0,
) -> DataLoader:
    """
    This process's share of a stream, for [`~hf_attention.training.loop.train.train`].

    The shards (files) of the data set are shared out if their number is a multiple of the processes'; else each
    process reads all of them and leaves out the others' rows.

    Args:
        rows (`IterableDataset`):
            The data set.
        make_dataloader (`Callable`):
            See [`BatchStream`].
        accelerator (`Accelerator`):
            The processes.
        arguments ([`StreamingArguments`]):
            Buffer, and steps of an epoch.
        seed (`int`):
            Seed of the order.
        num_workers (`int`, *optional*, defaults to 0):
            1 makes the batches in another process, ahead of time.
    """
    share = split_dataset_by_node(rows, accelerator.process_index, accelerator.num_processes)
    stream = BatchStream(share, make_dataloader, arguments.shuffle_buffer, arguments.steps_per_epoch, seed)
    return DataLoader(stream, batch_size=None, collate_fn=_as_it_is, num_workers=num_workers)


class BatchStream(torch.utils.data.IterableDataset):
    """
    The batches of a streamed data set, pass after pass without end, each with the position behind it.

    As many rows as the buffer holds are read, and shuffled and batched like a data set of their own; each pass takes
    the shards in another order. A position tells where the rows of the buffer began and how many of its batches are
    done. From there the stream goes on exactly, at the cost of reading these rows again.

    Args:
        rows (`IterableDataset`):
            The rows of this process.
        make_dataloader (`Callable`):
            Makes the batches of a buffer: its `dataset`, its `collate_fn`, and its `batch_sampler`, which has
            `set_epoch`.
        buffer_size (`int`):
            Rows of the buffer.
        steps_per_epoch (`int`):
            What the loop takes for an epoch.
        seed (`int`):
            Seed of the shards' order.
    """

    def __init__(
        self,
        rows: IterableDataset,
        make_dataloader: Callable[[Dataset], DataLoader],
        buffer_size: int,
        steps_per_epoch: int,
        seed: int,
    ):
        self.rows = _encoded_images(rows)
        self.features = rows.features
        self.make_dataloader = make_dataloader
        self.buffer_size = buffer_size
        self.steps_per_epoch = steps_per_epoch
        self.seed = seed
        self.position: Position = {"pass": 0, "buffer": 0, "rows": None, "done": 0}

    def __iter__(self) -> Iterator[tuple[Batch, Position]]:
        """
        From `position` on, which stays as it is.

        Raises:
            ValueError: If the data set is empty, or whatever `make_dataloader` finds wrong with its rows.
        """
        position = self.position
        while True:
            # By this number the data set shuffles its shards, and knows a state of the same pass.
            number = np.random.SeedSequence((self.seed, position["pass"])).generate_state(1)[0]
            self.rows.set_epoch(int(number))
            self.rows.load_state_dict(position["rows"])
            rows = iter(self.rows)
            while buffer := list(islice(rows, self.buffer_size)):
                behind = self.rows.state_dict()
                for batch in self._batches(buffer, position):
                    position = {**position, "done": position["done"] + 1}
                    yield batch, position
                position = {**position, "buffer": position["buffer"] + 1, "rows": behind, "done": 0}
            if position["rows"] is None:
                raise ValueError("There is no training data: the stream, or this process's share of it, is empty.")
            position = {**position, "pass": position["pass"] + 1, "rows": None}

    def _batches(self, buffer: list[dict[str, Any]], position: Position) -> Iterator[Batch]:
        try:
            dataloader = self.make_dataloader(Dataset.from_list(buffer, features=self.features))
        except ValueError as error:
            raise ValueError(
                f"Among the {len(buffer)} rows of the stream's buffer {position['buffer']} (from 0): {error}"
            ) from error
        dataloader.batch_sampler.set_epoch(position["buffer"])
        left = list(islice(dataloader.batch_sampler, position["done"], None))
        # With a generator of its own it does not draw from where dropout draws.
        yield from DataLoader(
            dataloader.dataset, batch_sampler=left, collate_fn=dataloader.collate_fn, generator=torch.Generator()
        )


def _encoded_images(rows: IterableDataset) -> IterableDataset:
    for name, feature in (rows.features or {}).items():
        if isinstance(feature, Image):
            rows = rows.cast_column(name, Image(decode=False))
    return rows


def _as_it_is(item: tuple[Batch, Position]) -> tuple[Batch, Position]:
    return item
