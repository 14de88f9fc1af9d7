"""What judges is judged."""

import json
import subprocess
import sys
import time

import pytest

from hf_attention.training.loop.arguments import LoopArguments

from .verdict import Outcome, Verdict, of_process, table


def refuse() -> None:
    LoopArguments(output_dir="", num_train_epochs=0)


@pytest.mark.parametrize(
    ("function", "words", "outcome"),
    [
        (lambda: None, (), Outcome.FINE),
        (refuse, ("num_train_epochs",), Outcome.CLEAR),
        (refuse, ("learning_rate",), Outcome.VAGUE),
        (lambda: json.loads(""), (), Outcome.INSIDE),
        (lambda: {}["missing"], (), Outcome.INSIDE),
        (lambda: time.sleep(9), (), Outcome.HANG),
        (lambda: bytearray(1 << 60), (), Outcome.MEMORY),
    ],
)
def test_functions(function, words: tuple[str, ...], outcome: Outcome) -> None:
    assert Verdict().attempt("", "", function, words, seconds=0.2) is outcome


@pytest.mark.parametrize(
    ("program", "outcome"),
    [
        ("", Outcome.FINE),
        ("import sys; sys.exit('`name` is wrong')", Outcome.CLEAR),
        ("import sys; sys.exit('no')", Outcome.VAGUE),
        ("import sys; sys.exit('`name` is wrong (HF_ATTENTION_TRACEBACK=1 tells where)')", Outcome.INSIDE),
        ("{}['name']", Outcome.INSIDE),
        ("import os; os.abort()", Outcome.INSIDE),
    ],
)
def test_processes(program: str, outcome: Outcome) -> None:
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert of_process(ended.returncode, ended.stderr, ["`name`"]) is outcome


def test_table() -> None:
    verdict = Verdict()
    verdict.add("kill", 1, Outcome.FINE)
    verdict.add("kill", 2, Outcome.WRONG)
    verdict.add("page", 1, Outcome.CLEAR)
    rows = [line.strip("| ").split(" | ") for line in table(verdict.cases).splitlines()]
    assert rows[0] == ["cases", "fine", "clear error", "vague", "from inside", "hang", "memory", "lost or wrong"]
    assert rows[2:] == [
        ["kill", "2", "1", "0", "0", "0", "0", "0", "1"],
        ["page", "1", "0", "1", "0", "0", "0", "0", "0"],
        ["all", "3", "1", "1", "0", "0", "0", "0", "1"],
    ]
    assert [case.name for case in verdict.failures()] == ["2"]
