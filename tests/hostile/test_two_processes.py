"""Two processes, one of which is killed: the other does not wait for ever, and the run resumes."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from common.scripts import child_environment
from safetensors.torch import load_file

from .tiny_tasks import TinyTask
from .verdict import Outcome, Verdict, last_line


KILLS = 3
SECONDS = 60


# What waits for the others is the loop, the same for all tasks.
@pytest.mark.parametrize("task", ["train_seq2seq"], indirect=True)
def test_one_of_two_is_killed(task: TinyTask, verdict: Verdict) -> None:
    numbers = random.Random(0)
    whole, output_dir = task.folder / "two", task.folder / "one-of-two"
    assert launch(task, whole).wait(300) == 0
    for case in range(KILLS):
        process = launch(task, output_dir)
        log = output_dir / "log.jsonl"
        lines = _lines(log)
        while process.poll() is None and _lines(log) <= lines:
            time.sleep(0.01)
        time.sleep(numbers.uniform(0, 0.5))
        rank, name = case % 2, f"process {case % 2}, kill {case}"
        killed = [child for child in _children(process.pid) if f"LOCAL_RANK={rank}" in _environment(child)]
        for child in killed:
            os.kill(child, signal.SIGKILL)
        try:
            process.wait(SECONDS)
            if killed:
                verdict.add("kill: one of two", name, Outcome.FINE)
        except subprocess.TimeoutExpired:
            process.terminate()
            verdict.add("kill: one of two", name, Outcome.HANG)
            process.wait(SECONDS)
    assert verdict.cases, "each run had ended before it could be killed"
    assert launch(task, output_dir).wait(300) == 0, last_line((task.folder / "two.txt").read_text())
    one, two = (load_file(folder / "model.safetensors") for folder in (whole, output_dir))
    same = all(torch.equal(one[name], two[name]) for name in one)
    verdict.add("kill: one of two", "the end", Outcome.FINE if same else Outcome.WRONG)


def launch(task: TinyTask, output_dir: Path) -> subprocess.Popen:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    with (task.folder / "two.txt").open("w") as said:
        command = [*launcher, *task.script[1:], *task.words(output_dir)]
        return subprocess.Popen(command, stdout=said, stderr=said, env=child_environment())


def _lines(log: Path) -> int:
    return len(log.read_text().splitlines()) if log.is_file() else 0


def _environment(process: int) -> list[str]:
    return Path(f"/proc/{process}/environ").read_text().split("\0")


def _children(process: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(process)], capture_output=True, text=True).stdout
    return [int(each) for each in found.split()]
