"""What something adds to the memory of its process, which is one of its own."""

import multiprocessing
import resource
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any


def added_peak(run: Callable[[], object]) -> float:
    """The peak of this process in a run, in MiB above what it held before. A larger one earlier would hide it."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    before = pages * resource.getpagesize()
    run()
    return (1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20


def in_own_process(function: Callable, *arguments: Any) -> Any:
    """What a function gives in a process that does nothing else."""
    # Forked, so that nothing is imported again: this process has no threads of PyTorch's yet that it would lack.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        return pool.submit(function, *arguments).result()
