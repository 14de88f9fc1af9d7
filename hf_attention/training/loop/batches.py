"""The batches of the training loop: the same in every run, shared out over the processes, from any step on."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator, skip_first_batches
from torch.utils.data import DataLoader, RandomSampler


class Share(NamedTuple):
    """
    What one process does for one batch of an optimiser step.

    Args:
        batch (`dict`):
            The batch.
        counts (`bool`):
            Whether it is trained on. Where batches run out before processes do, one that has none takes part with an
            earlier batch that counts nothing: processes wait for each other's gradients.
    """

    batch: dict[str, Any]
    counts: bool = True


class Batches(ABC):
    """The optimiser steps of a run, for one process, and the time that it waits for them."""

    steps_per_epoch: int

    def __init__(self):
        self.waited = 0.0  # seconds

    @abstractmethod
    def epoch(self, epoch: int, done: int = 0) -> Iterator[list[Share]]:
        """
        The steps of an epoch.

        Args:
            epoch (`int`):
                Its number, from 0.
            done (`int`, *optional*, defaults to 0):
                The steps to leave out at its beginning.
        """

    def end_step(self) -> float:
        """Told that the step is trained on; returns the seconds that it waited for its batches."""
        waited, self.waited = self.waited, 0.0
        return waited

    def state_dict(self) -> dict[str, Any] | None:
        """What a checkpoint must keep of this process, besides the step."""
        return None

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """
        Takes over what [`~Batches.state_dict`] gave.

        Raises:
            ValueError: If that was of a stream, and this is none, or the other way round.
        """
        if state is not None:
            raise ValueError("The checkpoint comes from a run with `streaming`.")

    def _next(self, batches: Iterator[Any]) -> Any:
        started = time.perf_counter()
        batch = next(batches, None)
        self.waited += time.perf_counter() - started
        return batch


class SizedBatches(Batches):
    """
    The optimiser steps of each epoch of a data set with a length.

    The order of an epoch depends on seed and epoch alone. What is random within the data set itself (and not drawn by
    its sampler) is drawn anew where a run is resumed in the middle of an epoch.

    Args:
        dataloader (`DataLoader`):
            Not prepared. Its sampler or batch sampler, if it has `set_epoch`, is told the number of each epoch.
        accelerator (`Accelerator`):
            Shares the batches out in turn.
        accumulation (`int`):
            Batches of a step, for each process.
        seed (`int`):
            Seed of the order.

    Raises:
        ValueError: If there are fewer batches than processes.
    """

    def __init__(self, dataloader: DataLoader, accelerator: Accelerator, accumulation: int, seed: int):
        super().__init__()
        processes, index = accelerator.num_processes, accelerator.process_index
        if len(dataloader) == 0:
            raise ValueError("There is no training data: `train_dataloader` is empty.")
        if len(dataloader) < processes:
            raise ValueError(f"`train_dataloader` has {len(dataloader)} batches for {processes} processes.")
        self.accumulation = accumulation
        self.seed = seed
        self.rounds = math.ceil(len(dataloader) / processes)  # batches of the process that has most
        self.own = len(range(index, len(dataloader), processes))  # of this one
        self.steps_per_epoch = math.ceil(self.rounds / accumulation)
        self._samplers = [dataloader.batch_sampler, dataloader.sampler]
        for sampler in self._samplers:
            if isinstance(sampler, RandomSampler) and sampler.generator is None:
                sampler.generator = torch.Generator()
        self._dataloader = accelerator.prepare_data_loader(dataloader)

    def epoch(self, epoch: int, done: int = 0) -> Iterator[list[Share]]:
        start = done * self.accumulation
        batches = self._iterate(epoch, start)
        shares = []
        for position in range(start, self.rounds):
            batch = self._next(batches)
            if (batch is not None) != (position < self.own):
                raise self._wrong_length()
            if batch is not None:
                earlier = batch
            elif position == start:
                earlier = next(self._iterate(epoch, 0))
            shares.append(Share(earlier, batch is not None))
            if len(shares) == self.accumulation or position == self.rounds - 1:
                yield shares
                shares = []
        if self._next(batches) is not None:
            raise self._wrong_length()

    def _wrong_length(self) -> RuntimeError:
        return RuntimeError(
            f"An epoch has not the {self.own} batches that the length of `train_dataloader` promises this process."
        )

    def _set_epoch(self, epoch: int) -> None:
        for sampler in self._samplers:
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(epoch)
            if getattr(sampler, "generator", None) is not None:
                sampler.generator.manual_seed(self._epoch_seed(epoch))
        self._dataloader.set_epoch(epoch)

    def _iterate(self, epoch: int, start: int) -> Iterator[dict[str, Any]]:
        self._set_epoch(epoch)
        batches = iter(skip_first_batches(self._dataloader, start) if start else self._dataloader)
        # A loader that starts draws the seed of its workers. Were it drawn from where dropout draws, a run that is
        # resumed, and starts a loader more, would have another dropout.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self._epoch_seed(epoch))
            first = next(batches, None)
        if first is not None:
            yield first
            yield from batches

    def _epoch_seed(self, epoch: int) -> int:
        return int(np.random.SeedSequence((self.seed, epoch)).generate_state(1)[0])
