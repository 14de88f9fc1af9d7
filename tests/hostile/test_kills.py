"""Runs that are killed at random moments, again and again: none loses anything, or ends with other weights."""

import os
import random
import shutil
import signal
import time
from pathlib import Path

from .tiny_tasks import TASKS, Ended, TinyTask
from .verdict import Outcome, Verdict, last_line, of_process


KILLS = int(os.environ.get("HOSTILE_KILLS", 100)) // len(TASKS)  # of each task, that find it alive
SECONDS = 900


def test_sigkill(task: TinyTask, verdict: Verdict) -> None:
    numbers = random.Random(task.task)
    output_dir = task.folder / "killed"
    deadline = time.monotonic() + SECONDS
    kills: list[str] = []
    while len(verdict.cases) + len(kills) < KILLS and time.monotonic() < deadline:
        moment = numbers.uniform(0, task.seconds)
        ended = task.run(output_dir, signal.SIGKILL, moment)
        if ended.hit and ended.hung:
            verdict.add(f"kill: {task.task}", f"at {moment:.2f} s", Outcome.HANG, "a process of it lives on")
        elif ended.hit:
            kills.append(f"{len(verdict.cases) + len(kills)} at {moment:.2f} s")
        else:
            judge(task, output_dir, ended, kills, verdict)
    judge(task, output_dir, task.run(output_dir), kills, verdict)
    assert len(verdict.cases) >= KILLS


def judge(task: TinyTask, output_dir: Path, ended: Ended, kills: list[str], verdict: Verdict) -> None:
    """Of the kills before a run that came to its end."""
    outcome, message = Outcome.FINE, ""
    if ended.hung:
        outcome = Outcome.HANG
    elif ended.code:
        outcome, message = of_process(ended.code, ended.stderr), last_line(ended.stderr)
        outcome = Outcome.WRONG if outcome is Outcome.CLEAR else outcome  # an error after a kill is a run that is lost
    elif message := task.difference(output_dir):
        outcome = Outcome.WRONG
    for kill in kills:
        verdict.add(f"kill: {task.task}", kill, outcome, message)
    kills.clear()
    shutil.rmtree(output_dir)
