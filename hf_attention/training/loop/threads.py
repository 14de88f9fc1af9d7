"""Threads of a training on processors."""

import logging
import os

import torch


logger = logging.getLogger(__name__)


def mention_idle_processors(num_processes: int) -> None:
    """
    Warns where `accelerate launch` has a run train on one thread, its default, and there are more processors. Who
    chose one thread for it is warned as well, as that looks the same; who starts a run otherwise is not.

    Args:
        num_processes (`int`): Processes of the run.
    """
    launched = "ACCELERATE_MIXED_PRECISION" in os.environ
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if launched and num_processes == 1 and torch.get_num_threads() == 1 and processors > 1:
        logger.warning(
            "`accelerate launch` trains on one thread, its default, and there are %d processors. `accelerate launch "
            "--num_cpu_threads_per_process %d` takes all of them, and so does `hf-attention train`.",
            processors,
            processors,
        )
