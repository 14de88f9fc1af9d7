"""What a language model learns from: the segments of a stream, or sentences."""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import PreTrainedTokenizerFast

from ....metrics.running_text import collate_sentences, in_columns, sentences, stream
from ...data.sampling import LengthBatchSampler
from .arguments import TextArguments


class Segment(NamedTuple):
    """
    A piece of a stream.

    Args:
        group (`int`):
            Which columns.
        start (`int`):
            The first of its positions.
        stop (`int`):
            The one behind its last.
    """

    group: int
    start: int
    stop: int


class StreamDataset(Dataset):
    """
    Segments of a stream as batches.

    Args:
        tokens (`torch.LongTensor` of shape `(1 + tokens,)`):
            The stream.
        columns (`int`):
            Parts that are read side by side.
        groups (`int`, *optional*, defaults to 1):
            How often as many columns; each process has its own.
    """

    def __init__(self, tokens: torch.LongTensor, columns: int, groups: int = 1):
        if len(tokens) <= columns * groups:
            raise ValueError(f"A text of {len(tokens) - 1} tokens cannot be cut into {columns * groups} columns.")
        self.inputs, self.targets = (part.view(groups, columns, -1) for part in in_columns(tokens, columns * groups))

    @property
    def length(self) -> int:
        """Positions of a column."""
        return self.inputs.shape[-1]

    def __getitem__(self, segment: Segment) -> dict[str, torch.Tensor]:
        group, start, stop = segment
        return {
            "input_ids": self.inputs[group, :, start:stop],
            "shift_labels": self.targets[group, :, start:stop],
        }


class SegmentSampler(Sampler[list[Segment]]):
    """
    The segments of a stream in their order; those that processes read at the same time follow each other.

    Args:
        length (`int`):
            Positions of a column.
        segment_length (`int`):
            Positions of a segment.
        groups (`int`, *optional*, defaults to 1):
            Groups of columns.
        random (`bool`, *optional*, defaults to `False`):
            Whether lengths are drawn, anew each epoch: around `segment_length`, now and then around half of it
            (Merity et al. 2018, section 5), and then stretched to the whole column in the same number of segments.
        seed (`int`, *optional*, defaults to 0):
            Seed of the lengths.
    """

    batch_size = 1
    drop_last = False

    def __init__(self, length: int, segment_length: int, groups: int = 1, random: bool = False, seed: int = 0):
        self.length = length
        self.segment_length = segment_length
        self.groups = groups
        self.random = random
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the lengths of the epoch `epoch`."""
        self.epoch = epoch

    def __len__(self) -> int:
        return math.ceil(self.length / self.segment_length) * self.groups

    def _stops(self) -> list[int]:
        number = math.ceil(self.length / self.segment_length)
        if not self.random:
            return [min((index + 1) * self.segment_length, self.length) for index in range(number)]
        rng = np.random.default_rng((self.seed, self.epoch))
        means = np.where(rng.random(number) < 0.95, self.segment_length, self.segment_length / 2)
        lengths = np.maximum(rng.normal(means, self.segment_length / 14), 1)
        stops = np.round(lengths.cumsum() * self.length / lengths.sum()).astype(int)
        return stops.tolist()

    def __iter__(self) -> Iterator[list[Segment]]:
        start = 0
        for stop in self._stops():
            for group in range(self.groups):
                yield [Segment(group, start, stop)]
            start = stop


class SentenceDataset(Dataset):
    """
    Sentences, each to be read from the zero state.

    Args:
        tokens (`list[list[int]]`):
            See [`sentences`].
    """

    def __init__(self, tokens: list[list[int]]):
        self.tokens = tokens

    def __getitem__(self, number: int) -> list[int]:
        return self.tokens[number]


def text_dataloader(
    texts: Iterable[str],
    tokenizer: PreTrainedTokenizerFast,
    arguments: TextArguments,
    num_processes: int = 1,
    seed: int = 0,
) -> DataLoader:
    """
    The batches of training: segments of the stream in their order, or sentences of similar length.

    Args:
        texts (`Iterable[str]`):
            Sentences or paragraphs, in their order.
        tokenizer (`PreTrainedTokenizerFast`):
            See [`for_running_text`].
        arguments (`TextArguments`):
            Columns, segments, or sentences.
        num_processes (`int`, *optional*, defaults to 1):
            Each has its own columns.
        seed (`int`, *optional*, defaults to 0):
            Seed of the lengths, or of the order.

    Raises:
        ValueError: If the text is too short for so many columns.
    """
    if arguments.reset_state:
        dataset = SentenceDataset(sentences(texts, tokenizer))
        sampler = LengthBatchSampler([len(tokens) for tokens in dataset.tokens], arguments.columns, seed=seed)
        return DataLoader(dataset, batch_sampler=sampler, collate_fn=collate_sentences)
    dataset = StreamDataset(stream(texts, tokenizer), arguments.columns, num_processes)
    sampler = SegmentSampler(dataset.length, arguments.segment_length, num_processes, arguments.random_segments, seed)
    return DataLoader(dataset, batch_sampler=sampler, collate_fn=lambda batch: batch[0])
