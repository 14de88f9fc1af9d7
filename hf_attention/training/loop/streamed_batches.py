"""The batches of the training loop where the data is a stream."""

from collections.abc import Iterator

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from torch.utils.data import DataLoader

from ..data.streaming import Batch, Position
from .batches import Batches, Share


class StreamedBatches(Batches):
    """
    The optimiser steps of a [`BatchStream`]. Every process has batches of its own, and never runs out of them.

    Args:
        dataloader (`DataLoader`):
            See [`streamed_dataloader`].
        accelerator (`Accelerator`):
            The device.
        accumulation (`int`):
            Batches of a step, for each process.
    """

    def __init__(self, dataloader: DataLoader, accelerator: Accelerator, accumulation: int):
        super().__init__()
        self.steps_per_epoch = dataloader.dataset.steps_per_epoch
        self.accumulation = accumulation
        self._dataloader = dataloader
        self._device = accelerator.device
        self._batches: Iterator[tuple[Batch, Position]] | None = None
        self._fetched = self._trained = dataloader.dataset.position

    def epoch(self, epoch: int, done: int = 0) -> Iterator[list[Share]]:
        if self._batches is None:
            # A loader that starts draws from where dropout draws; see `SizedBatches`.
            with torch.random.fork_rng(devices=[]):
                self._batches = iter(self._dataloader)
        for _ in range(done, self.steps_per_epoch):
            shares = []
            for _ in range(self.accumulation):
                batch, self._fetched = self._next(self._batches)
                shares.append(Share(send_to_device(batch, self._device)))
            yield shares

    def end_step(self) -> float:
        self._trained = self._fetched
        return super().end_step()

    def state_dict(self) -> Position:
        return self._trained

    def load_state_dict(self, state: Position | None) -> None:
        if state is None:
            raise ValueError("The checkpoint comes from a run without `streaming`.")
        self._dataloader.dataset.position = self._fetched = self._trained = state
