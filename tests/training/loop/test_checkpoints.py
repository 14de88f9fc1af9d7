"""Runs that end early, and go on."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from common import tiny_run as tiny
from common.runs import RANDOM, Interrupting, assert_same, interrupt, names, scores
from common.scripts import log
from common.tiny_run import RunArguments, tiny_run

from hf_attention.training.loop import checkpoints
from hf_attention.training.loop.arguments import LoopArguments
from hf_attention.training.loop.checkpoints import prepare_output_dir


@pytest.mark.parametrize(
    ("interrupted", "options"),
    [
        (4, {"checkpointing_steps": "1"}),
        (9, {"checkpointing_steps": "2", "gradient_accumulation_steps": 2}),
        (12, {"checkpointing_steps": "epoch", "mixed_precision": "bf16"}),
        (12, {"checkpointing_steps": "4", "ema_decay": 0.0, "dataloader_num_workers": 1}),
        (9, {"streamed": True, "checkpointing_steps": "2"}),
        (18, {"streamed": True, "dataloader_num_workers": 1, "gradient_accumulation_steps": 2}),
    ],
)
def test_resumed_run_ends_with_the_same_weights(tmp_path: Path, interrupted: int, options: dict) -> None:
    options = {"ema_decay": 0.9, "early_stopping_patience": 9, **options}
    run = replace(RANDOM, streamed=options.pop("streamed", False))
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole_result = tiny_run(whole, run, **options)
    with pytest.raises(KeyboardInterrupt):
        tiny_run(cut, replace(run, counting=False), Interrupting(interrupted, interrupt), **options)
    started = len(log(cut))
    result = tiny_run(cut, run, **options, resume_from_checkpoint="latest")
    assert result.state == whole_result.state
    assert log(cut)[started]["step"] > 0
    last = f"checkpoint-{result.state.step}"
    averaged = [f"{last}/averaged.safetensors"] if options["ema_decay"] else []
    assert_same(whole, cut, "best/model.safetensors", f"{last}/model.safetensors", *averaged)
    assert names(whole) == names(cut) == ["best", last, "log.jsonl"]


def test_killed_at_any_moment_of_a_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call by which a save changes the disk is once the last one of a run."""
    options = {"checkpointing_steps": "1", "average_checkpoints": 2, "num_train_epochs": 2}
    run = replace(RANDOM, examples=5, batch_size=3)
    whole = tmp_path / "whole"
    calls, limit = 0, None

    def counted(function):
        def call(path, *args, **kwargs):
            nonlocal calls
            calls += Path(path).exists()
            if calls == limit:
                raise SystemExit  # about which as little is done as about a SIGKILL
            return function(path, *args, **kwargs)

        return call

    monkeypatch.setattr(os, "replace", counted(os.replace))
    monkeypatch.setattr(shutil, "rmtree", counted(shutil.rmtree))
    tiny_run(whole, run, **options)
    last, resumed = calls, 0
    for moment in range(1, last + 1):
        cut, calls, limit = tmp_path / str(moment), 0, moment
        with pytest.raises(SystemExit):
            tiny_run(cut, run, **options)
        limit = None
        if list(cut.glob("checkpoint-*")):
            resumed += 1
            tiny_run(cut, run, **options, resume_from_checkpoint="latest")
            assert_same(whole, cut)
            assert names(whole) == names(cut)
    assert resumed > 5


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_leave_a_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture, number: signal.Signals, code: int
) -> None:
    before = signal.getsignal(number)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    tiny_run(whole, RANDOM)
    objective = Interrupting(7, lambda: signal.raise_signal(number))
    with pytest.raises(SystemExit) as stopped:
        tiny_run(cut, replace(RANDOM, counting=False), objective)
    assert stopped.value.code == code
    assert f"Stopped by {number.name}" in capsys.readouterr().out
    assert names(cut) == ["best", "checkpoint-7", "log.jsonl"]
    assert signal.getsignal(number) == before
    tiny_run(cut, RANDOM, resume_from_checkpoint="latest")
    assert_same(whole, cut)


def test_a_second_interrupt_acts_at_once(tmp_path: Path) -> None:
    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # parallel test workers ignore the signal
    try:
        with pytest.raises(KeyboardInterrupt):
            tiny_run(tmp_path, objective=Interrupting(7, twice))
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_full_disk_keeps_the_earlier_checkpoint(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill() -> None:  # files can become no longer than this
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))

    try:
        with pytest.raises(OSError, match=r"checkpoint-8 cannot be written .* Resume from checkpoint-4"):
            tiny_run(tmp_path, objective=Interrupting(7, fill), checkpointing_steps="4", num_train_epochs=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == ["best", "checkpoint-4", "log.jsonl"]
    tiny_run(tmp_path, resume_from_checkpoint="latest", checkpointing_steps="4", num_train_epochs=2)


def test_going_on_elsewhere(tmp_path: Path) -> None:
    options = {"save_total_limit": 3, "evaluate": scores(1.0, 2.0, 3.0, 4.0)}
    first, second = tmp_path / "first", tmp_path / "second"
    tiny_run(first, RANDOM, **options)
    assert names(first) == ["best", "checkpoint-10", "checkpoint-15", "checkpoint-5", "log.jsonl"]
    with pytest.raises(ValueError, match=r"newer than .*\['checkpoint-10', 'checkpoint-15'\]"):
        tiny_run(first, RANDOM, resume_from_checkpoint=str(first / "checkpoint-5"))
    result = tiny_run(
        second, RANDOM, resume_from_checkpoint=str(first / "checkpoint-10"), evaluate=options["evaluate"]
    )
    assert result.state.best_epoch == 1
    assert_same(first, second, "best/model.safetensors", "checkpoint-15/model.safetensors")


def test_another_run_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no checkpoint"):
        tiny_run(tmp_path, resume_from_checkpoint="latest")
    tiny_run(tmp_path, average_checkpoints=2)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="not empty"):
        tiny_run(tmp_path)
    prepare_output_dir(LoopArguments(output_dir=str(tmp_path), overwrite_output_dir=True))
    assert names(tmp_path) == ["notes.txt"]


def test_resuming_another_run_is_refused(tmp_path: Path) -> None:
    tiny_run(tmp_path)
    for run, options, message in (
        (RunArguments(batch_size=2), {}, "5 steps an epoch, this one has 10"),
        (RunArguments(), {"ema_decay": 0.0}, "differ in `ema_decay`"),
        (RunArguments(dropout=0.25), {}, "another model: the configurations differ in .*hidden_dropout"),
    ):
        with pytest.raises(ValueError, match=message):
            tiny_run(tmp_path, run, resume_from_checkpoint="latest", num_train_epochs=4, **options)
    state = checkpoints.find_checkpoint(LoopArguments(output_dir=str(tmp_path), resume_from_checkpoint="latest"))
    text = (state / "training_state.json").read_text()
    (state / "training_state.json").write_text(text.replace('"num_processes": 1', '"num_processes": 2'))
    with pytest.raises(ValueError, match="2 processes, this one has 1"):
        tiny_run(tmp_path, resume_from_checkpoint="latest", num_train_epochs=4)


def test_after_checkpoint(tmp_path: Path) -> None:
    seen = []
    tiny_run(tmp_path, checkpointing_steps="6", after_checkpoint=lambda path: seen.append((path.name, path.is_dir())))
    assert seen == [("checkpoint-6", True), ("checkpoint-12", True), ("checkpoint-15", True)]


@pytest.mark.slow
def test_killed_runs_end_with_the_same_weights(tmp_path: Path) -> None:
    run = {**vars(RANDOM), "seconds_per_batch": 0.05}
    options = {"checkpointing_steps": "1", "num_train_epochs": 8, "ema_decay": 0.9}
    tiny_run(tmp_path / "whole", RunArguments(**run), **options)
    cut = tmp_path / "cut"
    killed = 0
    for seconds in (0.3, 0.71, 1.13, 60):
        resume = {"resume_from_checkpoint": "latest"} if list(cut.glob("checkpoint-*")) else {}
        started = [[str(cut), run, {**options, **resume}]]
        process = subprocess.Popen(
            [sys.executable, tiny.__file__, json.dumps(started)],
            env={**os.environ, "PYTHONPATH": str(Path(tiny.__file__).parents[1]), "ACCELERATE_USE_CPU": "true"},
        )
        lines = len(log(cut)) if resume else 0
        while process.poll() is None and (not (cut / "log.jsonl").exists() or len(log(cut)) <= lines + 1):
            time.sleep(0.01)
        try:
            assert process.wait(timeout=seconds) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
    assert killed == 3
    assert_same(tmp_path / "whole", cut)
