"""SIGTERM and Ctrl-C at any moment: one line, the right exit code, nothing lost."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from common.scripts import SCRIPTS, child_environment, wait_for_handler

from .tiny_tasks import TASKS, Ended, TinyTask
from .verdict import Outcome, Verdict, last_line, of_process


SIGNALS = int(os.environ.get("HOSTILE_SIGNALS", 8))  # of each task


def of_signal(code: int, stderr: str, number: signal.Signals) -> tuple[Outcome, str]:
    """What a process ended in that got a signal."""
    said = [line for line in stderr.splitlines() if "Stopped by" in line]
    if code == 128 + number and len(said) == 1 and "Traceback" not in stderr:
        return Outcome.FINE, ""
    if code == 0:
        return Outcome.WRONG, f"{number.name} was swallowed"
    outcome = of_process(code, stderr)
    return Outcome.VAGUE if outcome is Outcome.CLEAR else outcome, f"{code}: {last_line(stderr)}"


def test_signals_while_it_runs(task: TinyTask, verdict: Verdict) -> None:
    numbers = random.Random(task.task)
    output_dir = task.folder / "signalled"
    kind = f"signal: {task.task}"
    while len(verdict.cases) < SIGNALS:
        number = numbers.choice((signal.SIGTERM, signal.SIGINT))
        moment = numbers.uniform(0, 0.9 * task.seconds)
        ended = task.run(output_dir, number, moment)
        if ended.hung:
            verdict.add(kind, f"{number.name} at {moment:.2f} s", Outcome.HANG)
        elif ended.hit:
            outcome = of_signal(ended.code, ended.stderr, number)
            verdict.add(kind, f"{number.name} at {moment:.2f} s", *outcome)
        else:
            check_end(task, output_dir, ended, verdict)
    check_end(task, output_dir, task.run(output_dir), verdict)


def check_end(task: TinyTask, output_dir: Path, ended: Ended, verdict: Verdict) -> None:
    """Nothing was lost."""
    message = last_line(ended.stderr) if ended.code else task.difference(output_dir)
    verdict.add(f"signals, then the end: {task.task}", "", Outcome.WRONG if message else Outcome.FINE, message)
    shutil.rmtree(output_dir)


@pytest.mark.parametrize("script", [*TASKS, "evaluate_model"])
def test_signals_while_it_imports(script: str, verdict: Verdict, tmp_path: Path) -> None:
    numbers = random.Random(script)
    for number in (signal.SIGTERM, signal.SIGINT):
        with (tmp_path / "stderr.txt").open("w") as errors:
            process = subprocess.Popen(
                [sys.executable, str(SCRIPTS / f"{script}.py"), "--help"],
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=child_environment(),
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # parallel workers ignore it
            )
            wait_for_handler(process)
            moment = numbers.uniform(0, 2)
            time.sleep(moment)
            process.send_signal(number)
            try:
                code = process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                verdict.add("signal: imports", f"{script}, {number.name}", Outcome.HANG)
                continue
        outcome = of_signal(code, (tmp_path / "stderr.txt").read_text(), number)
        verdict.add("signal: imports", f"{script}, {number.name} after {moment:.2f} s", *outcome)
