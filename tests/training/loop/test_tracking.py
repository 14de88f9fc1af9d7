from pathlib import Path

import pytest
from common import tiny_run as tiny
from common.scripts import log
from common.tiny_run import RunArguments, tiny_run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def test_a_tracker_gets_the_log(tmp_path: Path) -> None:
    tiny_run(tmp_path, report_to="tensorboard", num_train_epochs=2)
    (events,) = {path.parent for path in (tmp_path / "tracking").rglob("events.*") if path.parent.name == "tracking"}
    accumulator = EventAccumulator(str(events)).Reload()
    shown = [(event.step, event.value) for event in accumulator.Scalars("train/loss")]
    lines = log(tmp_path)
    expected = [(line["step"], pytest.approx(line["loss"])) for line in lines if "gradient_norm" in line]
    assert shown == expected
    assert [event.step for event in accumulator.Scalars("validation/loss")] == [5, 10]
    assert {"train/learning_rate", "train/tokens_per_second", "train/data_wait"} < set(accumulator.Tags()["scalars"])


def test_waiting_for_data_is_logged(tmp_path: Path) -> None:
    for name, seconds in (("slow", 0.2), ("fast", 0.0)):
        tiny_run(tmp_path / name, RunArguments(seconds_per_batch=seconds), num_train_epochs=1, logging_steps=5)
    slow, fast = (log(tmp_path / name)[0] for name in ("slow", "fast"))
    tokens = sum(len(example["labels"][0]) for example in tiny.Examples(RunArguments()).examples)
    # Whatever else the machine does, a sleep takes no less than it says.
    assert slow["data_wait"] * tokens / slow["tokens_per_second"] >= 5 * 0.2
    assert fast["data_wait"] < slow["data_wait"] < 1
