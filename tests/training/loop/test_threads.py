"""One thread where there are more processors is told of, if it may be that only the launcher chose it."""

import logging
import os

import pytest
import torch

from hf_attention.training.loop.threads import mention_idle_processors


@pytest.mark.parametrize(
    ("launched", "num_processes", "num_threads", "processors", "told"),
    [(True, 1, 1, 8, True), (False, 1, 1, 8, False), (True, 2, 1, 8, False), (True, 1, 8, 8, False)]
    + [(True, 1, 1, 1, False)],
)
def test_it_is_told(
    launched: bool,
    num_processes: int,
    num_threads: int,
    processors: int,
    told: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    if launched:
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    monkeypatch.setattr(torch, "get_num_threads", lambda: num_threads)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(processors)), raising=False)
    with caplog.at_level(logging.WARNING):
        mention_idle_processors(num_processes)
    assert [f"--num_cpu_threads_per_process {processors}" in message for message in caplog.messages] == [True] * told
