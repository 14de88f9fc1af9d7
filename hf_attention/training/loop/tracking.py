"""What a run tells: lines of log.jsonl, and the trackers of Accelerate."""

import importlib.util
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from ..files import named_on_error
from .arguments import LoopArguments


LOG_FILE = "log.jsonl"
TRACKING_FOLDER = "tracking"


def check_tracker(name: str) -> None:
    """
    Raises:
        ImportError: If a tracker's package is not installed, of which Accelerate would say nothing.
    """
    if name != "none" and importlib.util.find_spec(name) is None:
        raise ImportError(f"`report_to` is {name!r}, but that package is not installed: pip install {name}")


class Log:
    """
    The numbers of a run, written by the main process.

    Args:
        arguments ([`LoopArguments`]):
            Output folder, interval, and what the trackers keep as the run's settings.
        accelerator (`Accelerator`):
            Has the trackers.
    """

    def __init__(self, arguments: LoopArguments, accelerator: Accelerator):
        self.path = Path(arguments.output_dir) / LOG_FILE
        self.every = arguments.logging_steps
        self.accelerator = accelerator
        if arguments.report_to != "none":
            settings = {name: value for name, value in vars(arguments).items() if value is not None}
            accelerator.init_trackers(TRACKING_FOLDER, settings)
        self._begin_interval()

    def step(
        self, step: int, epoch: int, loss: float, items: int, learning_rate: float, norm: float, waited: float
    ) -> dict[str, float]:
        """
        Takes in an optimiser step.

        Args:
            step (`int`):
                Its number, from 1.
            epoch (`int`):
                The number of its epoch, from 1.
            loss (`float`):
                Its loss per item.
            items (`int`):
                Its items (target tokens, mostly), over all processes.
            learning_rate (`float`):
                The learning rate.
            norm (`float`):
                The norm of its gradient, before clipping.
            waited (`float`):
                Seconds that it waited for batches.

        Returns:
            `dict[str, float]`: The means since the last line, for a progress bar.
        """
        self.losses.append(loss)
        self.items += items
        self.waited += waited
        seconds = time.perf_counter() - self.started
        means = {
            "loss": sum(self.losses) / len(self.losses),
            "learning_rate": learning_rate,
            "gradient_norm": norm,
            "tokens_per_second": self.items / seconds,
            "data_wait": self.waited / seconds,
        }
        if step % self.every == 0:
            self.write(step, {"epoch": epoch, **means}, "train")
        return means

    def write(self, step: int, values: Mapping[str, Any], group: str | None = None) -> None:
        """
        Writes a line, and begins a new interval.

        Args:
            step (`int`):
                Optimiser steps so far.
            values (`Mapping`):
                What the line holds.
            group (`str`, *optional*):
                Under which name trackers show the numbers; without it they do not.
        """
        if self.accelerator.is_main_process:
            with named_on_error(self.path), self.path.open("a") as file:
                file.write(json.dumps({"step": step, **values}) + "\n")
        if group is not None:
            numbers = {f"{group}/{name}": value for name, value in values.items() if isinstance(value, int | float)}
            self.accelerator.log(numbers, step=step)
        self._begin_interval()

    def _begin_interval(self) -> None:
        self.losses: list[float] = []
        self.items, self.waited, self.started = 0, 0.0, time.perf_counter()
