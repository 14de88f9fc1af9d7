"""How a run is asked to end early."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

from torch.utils.data import DataLoader


class StopSignals:
    """
    Takes note of SIGTERM and of Ctrl-C, that the loop may end between two steps. The second one acts at once, as it
    would outside, and so does, at the end, one that came too late for the loop.

    An error that comes up in the loop gets the attribute `is_of_training`: it may not come again at once, so nobody
    should hide where it was.
    """

    def __init__(self):
        self.received = 0
        self._farewell: str | None = None
        self._last_words: str | None = None
        self._previous = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():  # Python allows it nowhere else
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: Any) -> None:
        for number, previous in self._previous.items():
            signal.signal(number, previous)
        if error[1] is not None:
            error[1].is_of_training = True
        if self._last_words is not None:  # below the progress bar, which has ended
            print(self._last_words, file=sys.stderr, flush=True)
        elif self.received and error[0] is None:
            signal.raise_signal(self.received)

    @contextmanager
    def at_once(self, farewell: str) -> Iterator[None]:
        """
        Within it the first signal acts at once, too, as nothing can be lost.

        Args:
            farewell (`str`):
                What the message says of how to go on.
        """
        self._farewell = farewell
        try:
            if self.received:
                self.leave(farewell)
            yield
            if self.received:  # while something ran that lets no exception through
                self.leave(farewell)
        finally:
            self._farewell = None

    def leave(self, farewell: str, is_told: bool = True) -> None:
        """
        Ends the process.

        Args:
            farewell (`str`):
                What the message says of how to go on.
            is_told (`bool`, *optional*, defaults to `True`):
                Whether there is a message.

        Raises:
            SystemExit: With the code 143 upon SIGTERM, 130 upon Ctrl-C.
        """
        number = signal.Signals(self.received or signal.SIGTERM)  # another process may be the one that was told
        if is_told:
            self._last_words = f"Stopped by {number.name}. {farewell}"
        raise SystemExit(128 + number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        signal.signal(number, self._previous[number])
        if self._farewell is not None:
            self.leave(self._farewell)


def spare_workers(dataloader: DataLoader) -> None:
    """
    Has the processes that read for a loop outlive the first signal, too: a terminal and most schedulers send it to all
    processes of a run, and the loop still needs what is read to finish its step.

    Args:
        dataloader (`DataLoader`):
            The loop's.
    """
    dataloader.worker_init_fn = partial(_outlive_one, dataloader.worker_init_fn)


def _outlive_one(then: Callable[[int], None] | None, worker: int) -> None:
    signal.signal(signal.SIGINT, _note_one)
    if hasattr(signal, "sigwaitinfo"):  # not everywhere
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_by_the_loop_or_the_second, daemon=True).start()
    if then is not None:
        then(worker)


def _note_one(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)


def _end_by_the_loop_or_the_second() -> None:
    """Where the loop's own process sends SIGTERM, it needs the worker no more, and waits for its end."""
    if signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        signal.sigwaitinfo({signal.SIGTERM})
    os._exit(0)
