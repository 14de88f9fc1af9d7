"""The training loop in two processes, against one."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from common import tiny_run as tiny
from common.scripts import child_environment
from common.tiny_run import RunArguments, tiny_run
from safetensors.torch import load_file


# Five batches: in the last step of an epoch the second process has none.
RANDOM = {"dropout": 0.3, "shuffle": True, "counting": True}


@pytest.fixture(autouse=True)
def fresh_accelerate() -> None:
    AcceleratorState._reset_state(reset_partial_state=True)


def launch(*runs: tuple[Path, dict, dict]) -> subprocess.Popen:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", tiny.__file__]
    return subprocess.Popen(
        [*command, json.dumps([(str(folder), run, options) for folder, run, options in runs])],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=child_environment(),
    )


def finish(process: subprocess.Popen, code: int = 0) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == code, output
    return output


def weights(folder: Path, file: str = "best/model.safetensors") -> dict[str, torch.Tensor]:
    return load_file(folder / file)


def check(tmp_path: Path, **run) -> None:
    """Two processes take the steps of one, and resume where they were."""
    options = {"checkpointing_steps": "4", "save_total_limit": 9, "average_checkpoints": 2}
    resume = {**options, "resume_from_checkpoint": str(tmp_path / "whole" / "checkpoint-4")}
    stream = {**RANDOM, **run, "streamed": True}
    every_five = {**options, "checkpointing_steps": "5"}
    goes_on = {**every_five, "resume_from_checkpoint": str(tmp_path / "stream" / "checkpoint-5")}
    output = finish(
        launch(
            (tmp_path / "two", run, {}),
            (tmp_path / "parts", {**run, "batch_size": 2}, {"gradient_accumulation_steps": 2}),
            (tmp_path / "whole", {**RANDOM, **run}, options),
            (tmp_path / "resumed", {**RANDOM, **run}, resume),
            (tmp_path / "stream", stream, every_five),
            (tmp_path / "stream-resumed", stream, goes_on),
        )
    )
    tiny_run(tmp_path / "one", RunArguments(batch_size=8))
    one = weights(tmp_path / "one")
    for name, weight in one.items():
        for other in ("two", "parts"):
            torch.testing.assert_close(weights(tmp_path / other)[name], weight, rtol=1e-5, atol=1e-6)
    for kind in ("whole", "resumed"), ("stream", "stream-resumed"):
        whole, resumed = (weights(tmp_path / name) for name in kind)
        assert whole.keys() == one.keys()
        for name in whole:
            assert torch.equal(whole[name], resumed[name]), (name, output)
    # The processes count and draw on their own.
    counts = [
        weights(tmp_path / "whole" / "checkpoint-9", f"objective_{process}.safetensors")["seen"] for process in (0, 1)
    ]
    assert [float(count) for count in counts] == [9, 9]


def test_two_processes_equal_one(tmp_path: Path) -> None:
    check(tmp_path)


@pytest.mark.slow
def test_sharded_model(tmp_path: Path) -> None:
    check(tmp_path, fsdp=True)


@pytest.mark.slow
def test_sigterm_stops_all_processes(tmp_path: Path) -> None:
    options = {"num_train_epochs": 20}
    run = {**RANDOM, "seconds_per_batch": 0.1}
    cut = tmp_path / "cut"
    process = launch((cut, run, options))
    while process.poll() is None and not (cut / "log.jsonl").exists():
        time.sleep(0.05)
    process.terminate()  # the launcher hands it on
    output, _ = process.communicate(timeout=60)
    assert "Stopped by SIGTERM" in output
    assert list(cut.glob("checkpoint-*"))
    finish(launch((cut, run, {**options, "resume_from_checkpoint": "latest"})))
    finish(launch((tmp_path / "whole", run, options)))
    whole, resumed = weights(tmp_path / "whole"), weights(cut)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
