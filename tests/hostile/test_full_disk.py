"""A disk that is full at some moment of a run: a clear error, and the run goes on when there is room."""

import os
import random
import resource
import shutil
import subprocess
from functools import partial
from pathlib import Path

import pytest

from .tiny_tasks import TinyTask
from .verdict import Outcome, Verdict, last_line, of_process


SIZES = int(os.environ.get("HOSTILE_SIZES", 6))  # of each task


@pytest.fixture
def disk(task: TinyTask):
    """A folder whose size may be set, where this user may mount one; else `None`."""
    folder = task.folder / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], capture_output=True)
    yield folder if mounted.returncode == 0 else None
    if mounted.returncode == 0:
        subprocess.run(["umount", folder], check=True)


def limit_files(size: int) -> None:
    """No file may become longer."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def test_full_disk(task: TinyTask, disk: Path | None, verdict: Verdict) -> None:
    numbers = random.Random(task.task)
    files = [path.stat().st_size for path in task.whole.rglob("*") if path.is_file()]
    for case in range(SIZES):
        output_dir = (task.folder if disk is None or case % 3 == 2 else disk) / "run"
        before = None
        if output_dir.parent == disk:
            size = int(numbers.uniform(0.1, 1.5) * sum(files))
            subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)
            name = f"{size} bytes"
        else:
            size = int(numbers.uniform(0.01, 1) * max(files))
            before, name = partial(limit_files, size), f"{size} bytes a file"
        ended = task.run(output_dir, before=before)
        kind = f"full disk: {task.task}"
        if ended.hung:
            verdict.add(kind, name, Outcome.HANG)
        else:
            words = ["cannot be written", "No space left", "File too large"]
            verdict.add(kind, name, of_process(ended.code, ended.stderr, words), last_line(ended.stderr))
        if disk is not None:
            subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        ended = task.run(output_dir)
        message = last_line(ended.stderr) if ended.code else task.difference(output_dir)
        verdict.add(f"{kind}, then room", name, Outcome.WRONG if message else Outcome.FINE, message)
        shutil.rmtree(output_dir)
