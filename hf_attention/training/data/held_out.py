"""A validation split for a data set that has none: a share of its training split."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from datasets import Dataset, DatasetDict, IterableDatasetDict

from ...arguments import SEED, CheckedArguments
from ...models.ranges import Range


logger = logging.getLogger(__name__)

DEFAULT_NAME = "validation"


@dataclass
class HeldOutArguments(CheckedArguments):
    """What is held out of the training split where there is no validation split."""

    validation_fraction: Annotated[float, Range(0, 1, "()")] = field(
        default=0.1, metadata={"help": "Share of the training split to validate on, where there is no other split."}
    )
    validation_seed: Annotated[int, SEED] = field(default=0, metadata={"help": "Chooses it."})


def with_validation_split(
    splits: DatasetDict | IterableDatasetDict,
    train_split: str,
    validation_split: str,
    test_split: str,
    arguments: HeldOutArguments,
    ids: Callable[[Dataset], Sequence[Any]] | None = None,
    is_running_text: bool = False,
) -> DatasetDict | IterableDatasetDict:
    """
    The splits, with a validation split where there is none: some rows that the training split then lacks, chosen by
    the seed, or of a running text the last. A warning says so.

    None is made of a stream, where another name than `validation` is asked for, or where there is a split besides
    those of training and test, which may be meant.

    Args:
        splits (`DatasetDict` or `IterableDatasetDict`):
            The splits.
        train_split, validation_split, test_split (`str`):
            Their names.
        arguments ([`HeldOutArguments`]):
            How many rows, and which.
        ids (`Callable`, *optional*):
            Takes the training split, and says of each row what it is about: rows that are about the same stay
            together. By default each is about something of its own.
        is_running_text (`bool`, *optional*, defaults to `False`):
            Whether the rows go on from one to the next.

    Raises:
        ValueError: If training or validation split would be empty.
    """
    is_named = validation_split != DEFAULT_NAME or validation_split in splits
    others = set(splits) - {train_split, test_split}
    if is_named or others or isinstance(splits, IterableDatasetDict) or not splits.get(train_split):
        return splits
    train = splits[train_split]
    names = range(len(train)) if ids is None else ids(train)
    seed = None if is_running_text else arguments.validation_seed
    kept, held_out = hold_out(names, arguments.validation_fraction, seed)
    logger.warning(
        "There is no validation split: holding out %d of the %d rows of training, %s.",
        len(held_out),
        len(train),
        "the last" if is_running_text else f"chosen by `validation_seed` {seed}",
    )
    return DatasetDict({**splits, train_split: train.select(kept), validation_split: train.select(held_out)})


def hold_out(ids: Sequence[Any], fraction: float, seed: int | None = 0) -> tuple[list[int], list[int]]:
    """
    Holds out a share of what the rows of a split are about, each with all its rows.

    Args:
        ids (`Sequence`):
            What each row is about: its image, for one.
        fraction (`float`):
            Share to hold out, above 0 and below 1.
        seed (`int`, *optional*, defaults to 0):
            Chooses it. With `None` it is what comes last.

    Returns:
        `tuple[list[int], list[int]]`: The other rows, and those that are held out.

    Raises:
        ValueError: If one side would be empty.
    """
    distinct = list(dict.fromkeys(ids))
    count = round(fraction * len(distinct))
    if not 0 < count < len(distinct):
        raise ValueError(f"`validation_fraction` {fraction} of {len(distinct)} leaves one side empty.")
    order = range(len(distinct))[::-1] if seed is None else np.random.default_rng(seed).permutation(len(distinct))
    chosen = {distinct[i] for i in order[:count]}
    rows: tuple[list[int], list[int]] = ([], [])
    for row, key in enumerate(ids):
        rows[key in chosen].append(row)
    return rows
