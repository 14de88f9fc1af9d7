"""Runs that end early, and go on."""

import json
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from common import tiny_run as tiny
from common.runs import RANDOM, Interrupting, assert_same, interrupt, names, scores
from common.scripts import child_environment, log
from common.tiny_run import RunArguments, tiny_run
from transformers import PreTrainedModel

from hf_attention.training.files import write_manifest
from hf_attention.training.loop import checkpoints
from hf_attention.training.loop.arguments import LoopArguments
from hf_attention.training.loop.checkpoints import find_checkpoint, prepare_output_dir
from hf_attention.training.loop.interruption import StopSignals


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


def test_a_run_that_is_killed_after_its_last_step(tmp_path: Path) -> None:
    """Which lies within an epoch: its checkpoint is written, its validation is not done."""
    whole, cut, longer = tmp_path / "whole", tmp_path / "cut", tmp_path / "longer"
    run, options = RunArguments(dropout=0.3, shuffle=True), {"max_steps": 8, "average_checkpoints": 2}
    expected = tiny_run(whole, run, **options)
    assert len(expected.state.candidates) == 2
    validations = count()

    def validate(model: PreTrainedModel) -> dict[str, float]:
        if next(validations) == 1:
            interrupt()
        return tiny.mean_loss(run)(model)

    with pytest.raises(KeyboardInterrupt):
        tiny_run(cut, run, **options, evaluate=validate)
    for _ in range(2):  # what has ended may be resumed, too
        result = tiny_run(cut, run, **options, resume_from_checkpoint="latest")
        assert result.state == expected.state
        assert_same(whole, cut)
        assert names(whole) == names(cut)
    # The schedule is another than that of a run that had more steps from the start, but the batches are the same.
    result = tiny_run(longer, run, resume_from_checkpoint=str(cut / "checkpoint-8"), max_steps=12)
    assert (result.state.step, result.state.epoch) == (12, 3)
    with pytest.raises(ValueError, match="lies at step 8, beyond the 6 of this run: give more `max_steps`"):
        tiny_run(cut, run, resume_from_checkpoint="latest", max_steps=6)


@pytest.mark.parametrize("step", [5, 12, 15])
def test_a_signal_in_the_last_step_of_an_epoch_or_run(tmp_path: Path, step: int) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    expected = tiny_run(whole, RANDOM, max_steps=max(step, 12))
    objective = Interrupting(step, lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(SystemExit):
        tiny_run(cut, replace(RANDOM, counting=False), objective, max_steps=max(step, 12))
    assert names(cut)[-2:] == [f"checkpoint-{step}", "log.jsonl"]
    result = tiny_run(cut, RANDOM, max_steps=max(step, 12), resume_from_checkpoint="latest")
    assert result.state == expected.state
    assert_same(whole, cut)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("validation", [1, 3])
def test_a_validation_is_left_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture, number: signal.Signals, code: int, validation: int
) -> None:
    """Whatever `checkpointing_steps` says, there is a checkpoint before it."""
    whole, cut, options = tmp_path / "whole", tmp_path / "cut", {"checkpointing_steps": "99"}
    expected = tiny_run(whole, RANDOM, **options)
    validations = count(1)

    def validate(model: PreTrainedModel) -> dict[str, float]:
        if next(validations) == validation:
            signal.raise_signal(number)
            pytest.fail("the validation went on")
        return tiny.mean_loss(RANDOM)(model)

    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as stopped:
        tiny_run(cut, RANDOM, **options, evaluate=validate)
    assert stopped.value.code == code
    last, command = f"{cut}/checkpoint-{5 * validation}", "`--resume_from_checkpoint latest`"
    assert capsys.readouterr().err.splitlines()[-1] == f"Stopped by {number.name}. Go on from {last} with {command}."
    assert signal.getsignal(number) == before
    result = tiny_run(cut, RANDOM, **options, resume_from_checkpoint="latest")
    assert result.state == expected.state
    assert_same(whole, cut)


def test_a_signal_that_comes_too_late_for_the_loop_is_handed_on() -> None:
    received = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        with StopSignals():
            signal.raise_signal(signal.SIGTERM)
            assert not received
        assert received == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


DAMAGES = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "changed": lambda path: path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 255])),
}


def test_damaged_checkpoints_are_named_or_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each file of one, in each way."""
    options = {"average_checkpoints": 2, "num_train_epochs": 2, "save_total_limit": 2}
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    tiny_run(whole, RANDOM, **options)
    files = [path.relative_to(whole / "checkpoint-10") for path in (whole / "checkpoint-10").rglob("*.*")]
    assert {"manifest.json", "random_states_0.pkl", "objective_0.safetensors", "optimizer.bin"} <= set(map(str, files))
    assert {"best/model.safetensors", "candidates/epoch-1.safetensors"} <= set(map(str, files))
    for file in files:
        for damage in DAMAGES.values():
            shutil.rmtree(cut, ignore_errors=True)
            shutil.copytree(whole, cut)
            damage(cut / "checkpoint-10" / file)
            wanted = LoopArguments(output_dir=str(cut), resume_from_checkpoint=str(cut / "checkpoint-10"))
            with pytest.raises(ValueError, match=f"checkpoint-10', which is not whole: {file} .*'latest'"):
                find_checkpoint(wanted)
            caplog.clear()
            assert find_checkpoint(replace(wanted, resume_from_checkpoint="latest")) == cut / "checkpoint-5"
            assert f"checkpoint-10 is not whole, and is passed over: {file} " in caplog.text
    tiny_run(cut, RANDOM, **options, resume_from_checkpoint="latest")
    assert_same(whole, cut)
    assert names(cut) == sorted([*names(whole), "checkpoint-10.damaged"])
    for step in (5, 10):
        (cut / f"checkpoint-{step}" / "manifest.json").write_text("{}")
    with pytest.raises(ValueError, match="holds no checkpoint that is whole.*-10 is not.*-5 is not"):
        tiny_run(cut, RANDOM, **options, resume_from_checkpoint="latest")


def test_a_checkpoint_is_on_the_disk_before_it_is_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, sync, move = [], os.fsync, os.replace

    def noted_sync(descriptor: int) -> None:
        sync(descriptor)
        synced.append(os.fstat(descriptor).st_ino)

    def noted_move(source: Path, target: Path) -> None:
        unsynced = {path.stat().st_ino for path in (source, *Path(source).rglob("*"))} - set(synced)
        if ".partial" in str(source):
            assert not unsynced, source
        move(source, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "replace", noted_move)
    tiny_run(tmp_path, RANDOM, average_checkpoints=2)
    assert tmp_path.stat().st_ino in synced


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
    assert f"Stopped by {number.name}. Go on from {cut}/checkpoint-7 with" in capsys.readouterr().err
    assert names(cut) == ["best", "checkpoint-7", "log.jsonl"]
    assert signal.getsignal(number) == before
    tiny_run(cut, RANDOM, resume_from_checkpoint="latest")
    assert_same(whole, cut)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_signal_to_all_processes_is_outlived_by_those_that_read(
    tmp_path: Path, number: signal.Signals, streamed: bool
) -> None:
    """As a terminal or a scheduler sends it. What the loop itself sends ends them."""

    def signal_all() -> None:
        [worker] = set(multiprocessing.active_children()) - before
        subprocess.run(["kill", "-s", number.name.removeprefix("SIG"), str(worker.pid)], check=True)
        worker.join(0.5)
        assert worker.is_alive()
        signal.raise_signal(number)
        workers.append(worker)

    workers, run, options = [], replace(RANDOM, streamed=streamed), {"dataloader_num_workers": 1}
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    tiny_run(whole, run, **options)
    before = set(multiprocessing.active_children())
    with pytest.raises(SystemExit):
        tiny_run(cut, replace(run, counting=False), Interrupting(3, signal_all), **options)
    assert "checkpoint-3" in names(cut)
    workers[0].terminate()
    workers[0].join(20)
    assert not workers[0].is_alive()
    tiny_run(cut, run, **options, resume_from_checkpoint="latest")
    assert_same(whole, cut)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"learning_rate": 5e-3}, r"`learning_rate` is \[0.01, 0.01\], this one's is \[0.005, 0.005\]"),
        ({"weight_decay": 0.5}, r"`weight_decay` is \[0.0\d*, 0.0\d*\], this one's is \[0.\d, 0.\d\]"),
    ],
)
def test_what_the_optimizers_state_would_undo_is_refused(tmp_path: Path, options: dict, words: str) -> None:
    tiny_run(tmp_path, num_train_epochs=1)
    with pytest.raises(ValueError, match=words):
        tiny_run(tmp_path, num_train_epochs=2, resume_from_checkpoint="latest", **options)


def test_a_checkpoint_by_another_name_is_not_overwritten(tmp_path: Path) -> None:
    """Of the run that is to be overwritten: it goes on."""
    tiny_run(tmp_path / "run", RANDOM, num_train_epochs=1)
    (tmp_path / "link").symlink_to(tmp_path / "run" / "checkpoint-5")
    options = {"resume_from_checkpoint": str(tmp_path / "link"), "overwrite_output_dir": True}
    assert tiny_run(tmp_path / "run", RANDOM, num_train_epochs=2, **options).state.step == 10


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
        with pytest.raises(OSError, match=r"checkpoint-8 cannot be written .* Resume from checkpoint-5"):
            tiny_run(tmp_path, objective=Interrupting(7, fill), checkpointing_steps="4", num_train_epochs=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == ["best", "checkpoint-5", "log.jsonl"]
    tiny_run(tmp_path, resume_from_checkpoint="latest", checkpointing_steps="4", num_train_epochs=2)


def test_going_on_elsewhere(tmp_path: Path) -> None:
    options = {"save_total_limit": 3, "evaluate": scores(1.0, 2.0, 3.0, 4.0, 5.0)}
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
    (state / "manifest.json").unlink()
    write_manifest(state)
    with pytest.raises(ValueError, match="2 processes, this one has 1"):
        tiny_run(tmp_path, resume_from_checkpoint="latest", num_train_epochs=4)


def test_after_checkpoint(tmp_path: Path) -> None:
    seen = []
    tiny_run(tmp_path, checkpointing_steps="6", after_checkpoint=lambda path: seen.append((path.name, path.is_dir())))
    assert seen == [(f"checkpoint-{step}", True) for step in (5, 6, 10, 12, 15)]


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
            env=child_environment(),
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
