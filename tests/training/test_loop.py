import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from common import tiny_run as tiny
from common.tiny_run import RunArguments, tiny_run
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.data import DataLoader
from transformers import ResNetConfig

from hf_attention import AttentionCaptionerConfig, AttentionCaptionerForConditionalGeneration
from hf_attention.training.data.collators import CaptionCollator
from hf_attention.training.loop import checkpoints
from hf_attention.training.loop.arguments import LoopArguments
from hf_attention.training.loop.batches import SizedBatches
from hf_attention.training.loop.checkpoints import prepare_output_dir
from hf_attention.training.loop.objective import Objective
from hf_attention.training.loop.train import create_optimizer, make_accelerator


# Order and dropout depend on random numbers; the last step of an epoch has a batch less than the others.
RANDOM = RunArguments(shuffle=True, dropout=0.3, examples=19, counting=True)


@pytest.fixture(autouse=True)
def fresh_accelerate() -> None:
    """Accelerate keeps the precision of its first use for the whole process."""
    AcceleratorState._reset_state(reset_partial_state=True)


class Interrupting(tiny.CountingObjective):
    """Calls a function at the batch `number`, counted from 1."""

    def __init__(self, number: int, function: Callable[[], None]):
        super().__init__()
        self.number, self.function, self.calls = number, function, 0

    def __call__(self, *args) -> torch.Tensor:
        self.calls += 1
        if self.calls == self.number:
            self.function()
        return super().__call__(*args)


def interrupt() -> None:
    raise KeyboardInterrupt


def scores(*values: float) -> Callable:
    """An evaluation that gives these losses in turn."""
    turns = iter(values)
    return lambda model: {"loss": next(turns)}


def log_lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def assert_same(first: Path, second: Path, *files: str, exact: bool = True) -> None:
    for file in files or ("best/model.safetensors",):
        one, two = load_file(first / file), load_file(second / file)
        assert one.keys() == two.keys()
        for name in one:
            tolerance = {"rtol": 0, "atol": 0} if exact else {"rtol": 1e-5, "atol": 1e-6}
            torch.testing.assert_close(one[name], two[name], **tolerance)


# Steps


def test_accumulated_steps_equal_large_ones(tmp_path: Path) -> None:
    for name, batch_size, accumulation in (("whole", 8, 1), ("parts", 4, 2)):
        run = RunArguments(batch_size=batch_size)
        tiny_run(tmp_path / name, run, gradient_accumulation_steps=accumulation)
    assert_same(tmp_path / "whole", tmp_path / "parts", exact=False)
    first, second = (log_lines(tmp_path / name) for name in ("whole", "parts"))
    assert len(first) == len(second) == 3 * 3 + 3
    assert [line["loss"] for line in first] == pytest.approx([line["loss"] for line in second], rel=1e-5)


def test_same_seed_same_run(tmp_path: Path) -> None:
    for name, seed, workers in (("one", 3, 0), ("same", 3, 0), ("workers", 3, 1), ("other", 4, 0)):
        tiny_run(tmp_path / name, RANDOM, seed=seed, num_train_epochs=2, dataloader_num_workers=workers)
    assert_same(tmp_path / "one", tmp_path / "same")
    assert_same(tmp_path / "one", tmp_path / "workers")
    with pytest.raises(AssertionError, match="not equal"):
        assert_same(tmp_path / "one", tmp_path / "other")


def test_weights_are_averaged(tmp_path: Path) -> None:
    seen, decay = [], 0.8

    class Noting(Objective):
        def __call__(self, model, batch, num_items):
            self.model = model
            return super().__call__(model, batch, num_items)

    objective = Noting()

    def record(optimizer, *args):
        seen.append({name: value.detach().clone() for name, value in objective.model.named_parameters()})

    handle = register_optimizer_step_post_hook(record)
    try:
        tiny_run(tmp_path, objective=objective, num_train_epochs=1, ema_decay=decay)
    finally:
        handle.remove()
    averaged = load_file(tmp_path / "best" / "model.safetensors")
    for name in seen[0]:
        expected = seen[0][name]
        for updates, weights in enumerate(seen[1:], 1):
            factor = min(decay, (1 + updates) / (10 + updates))
            expected = factor * expected + (1 - factor) * weights[name]
        torch.testing.assert_close(averaged[name], expected, rtol=1e-4, atol=1e-6)
        # The training itself goes on with the weights of the last step.
        assert torch.equal(objective.model.get_parameter(name), seen[-1][name])


def test_max_steps_end_within_an_epoch(tmp_path: Path) -> None:
    result = tiny_run(tmp_path, max_steps=7)
    assert (result.state.step, result.state.epoch) == (7, 2)
    assert [line["epoch"] for line in log_lines(tmp_path) if "evaluation_seconds" in line] == [1, 2]
    with pytest.raises(ValueError, match="ended within an epoch"):
        tiny_run(tmp_path, max_steps=9, resume_from_checkpoint="latest")


def test_dry_run(tmp_path: Path) -> None:
    result = tiny_run(tmp_path, dry_run=True)
    assert result.state.step == 2
    assert names(tmp_path) == ["best", "checkpoint-2", "log.jsonl"]
    assert LoopArguments(output_dir="x", dry_run=True).eval_samples(None) == 16
    assert LoopArguments(output_dir="x", dry_run=True).eval_samples(5) == 5
    assert LoopArguments(output_dir="x").eval_samples(None) is None


def test_early_stopping_keeps_the_best(tmp_path: Path) -> None:
    evaluate = scores(3.0, 1.0, 2.0, 1.5, 0.5)
    result = tiny_run(tmp_path, num_train_epochs=5, early_stopping_patience=2, evaluate=evaluate)
    assert (result.state.epoch, result.state.best_epoch) == (4, 2)
    assert [line["loss"] for line in log_lines(tmp_path) if "evaluation_seconds" in line] == [3.0, 1.0, 2.0, 1.5]


def test_nan_stops_and_names_the_batch(tmp_path: Path) -> None:
    class Poisoned(Objective):
        calls = 0

        def __call__(self, model, batch, num_items):
            self.calls += 1
            if self.calls == 8:
                batch["region_features"].fill_(float("nan"))
            return super().__call__(model, batch, num_items)

    with pytest.raises(FloatingPointError, match=r"loss is nan .* at step 8 \(epoch 2, batch 3 of it\)"):
        tiny_run(tmp_path, objective=Poisoned())


@pytest.mark.parametrize("promised", [4, 6])
def test_a_sampler_of_the_wrong_length_is_named(tmp_path: Path, promised: int) -> None:
    class Promising(tiny.BatchesInOrder):
        def __len__(self) -> int:
            return promised

    examples = tiny.Examples(RunArguments())
    dataloader = DataLoader(examples, batch_sampler=Promising(len(examples), 4), collate_fn=CaptionCollator())
    batches = SizedBatches(dataloader, make_accelerator(LoopArguments(output_dir=str(tmp_path))), 1, 0)
    with pytest.raises(RuntimeError, match=f"not the {promised} batches"):
        list(batches.epoch(0))


# Checkpoints


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
    started = len(log_lines(cut))
    result = tiny_run(cut, run, **options, resume_from_checkpoint="latest")
    assert result.state == whole_result.state
    assert log_lines(cut)[started]["step"] > 0
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
        lines = len(log_lines(cut)) if resume else 0
        while process.poll() is None and (not (cut / "log.jsonl").exists() or len(log_lines(cut)) <= lines + 1):
            time.sleep(0.01)
        try:
            assert process.wait(timeout=seconds) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
    assert killed == 3
    assert_same(tmp_path / "whole", cut)


# The mean of several epochs


@pytest.mark.parametrize(("by", "losses", "epochs"), [("last", [1, 2, 3, 4], [3, 4]), ("best", [3, 1, 4, 2], [2, 4])])
def test_epochs_are_averaged(tmp_path: Path, by: str, losses: list[float], epochs: list[int]) -> None:
    options = {"num_train_epochs": 4, "average_by": by, "save_total_limit": 9}
    better, worse = tmp_path / "better", tmp_path / "worse"
    result = tiny_run(better, average_checkpoints=2, evaluate=scores(*losses, 0.5), **options)
    assert (result.state.averaged_epochs, result.state.best_metrics) == (epochs, {"loss": 0.5})
    assert names(better / "candidates") == [f"epoch-{epoch}.safetensors" for epoch in epochs]
    assert log_lines(better)[-1]["average_of_epochs"] == epochs
    evaluated = [load_file(better / f"checkpoint-{5 * epoch}" / "averaged.safetensors") for epoch in epochs]
    mean = load_file(better / "best" / "model.safetensors")
    for name in mean:
        torch.testing.assert_close(mean[name], (evaluated[0][name] + evaluated[1][name]) / 2, rtol=1e-6, atol=1e-7)

    # A mean that is no better is not kept.
    result = tiny_run(worse, average_checkpoints=2, evaluate=scores(*losses, 1.5), **options)
    assert (result.state.averaged_epochs, result.state.best_metrics) == ([], {"loss": 1})
    best = load_file(worse / "best" / "model.safetensors")
    epoch = losses.index(1) + 1
    single = load_file(worse / f"checkpoint-{5 * epoch}" / "averaged.safetensors")
    assert all(torch.equal(best[name], single[name]) for name in best)


# Numbers


def test_a_tracker_gets_the_log(tmp_path: Path) -> None:
    tiny_run(tmp_path, report_to="tensorboard", num_train_epochs=2)
    (events,) = {path.parent for path in (tmp_path / "tracking").rglob("events.*") if path.parent.name == "tracking"}
    accumulator = EventAccumulator(str(events)).Reload()
    shown = [(event.step, event.value) for event in accumulator.Scalars("train/loss")]
    lines = log_lines(tmp_path)
    expected = [(line["step"], pytest.approx(line["loss"])) for line in lines if "gradient_norm" in line]
    assert shown == expected
    assert [event.step for event in accumulator.Scalars("validation/loss")] == [5, 10]
    assert {"train/learning_rate", "train/tokens_per_second", "train/data_wait"} < set(accumulator.Tags()["scalars"])


def test_waiting_for_data_is_logged(tmp_path: Path) -> None:
    for name, seconds in (("slow", 0.2), ("fast", 0.0)):
        tiny_run(tmp_path / name, RunArguments(seconds_per_batch=seconds), num_train_epochs=1, logging_steps=5)
    slow, fast = (log_lines(tmp_path / name)[0] for name in ("slow", "fast"))
    tokens = sum(len(example["labels"][0]) for example in tiny.Examples(RunArguments()).examples)
    # Whatever else the machine does, a sleep takes no less than it says.
    assert slow["data_wait"] * tokens / slow["tokens_per_second"] >= 5 * 0.2
    assert fast["data_wait"] < slow["data_wait"] < 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"checkpointing_steps": "0"}, "`checkpointing_steps` must be a number of steps or 'epoch', got '0'"),
        ({"checkpointing_steps": "often"}, "got 'often'"),
        ({"average_checkpoints": 1}, "`average_checkpoints` must be 0, or at least 2"),
        ({"max_steps": 0}, "`max_steps` must be at least 1"),
        ({"ema_decay": 1.0}, "`ema_decay` must lie"),
        ({"average_checkpoints": 2, "evaluate": None}, "`average_checkpoints` needs a validation"),
        ({"metric_for_best_model": "bleu"}, r"is 'bleu', but the metrics are \['loss'\]"),
    ],
)
def test_bad_arguments(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_run(tmp_path, **options)


def test_what_would_be_ignored_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImportError, match="`report_to` is 'trackio', but that package is not installed"):
        monkeypatch.setitem(sys.modules, "trackio", None)
        make_accelerator(LoopArguments(output_dir=str(tmp_path), report_to="trackio"))
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ValueError, match="FSDP is asked for"):
        make_accelerator(LoopArguments(output_dir=str(tmp_path)))


def test_no_data(tmp_path: Path) -> None:
    accelerator = make_accelerator(LoopArguments(output_dir=str(tmp_path)))
    with pytest.raises(ValueError, match="no training data"):
        SizedBatches(DataLoader([], batch_size=2), accelerator, 1, 0)


def test_parameter_groups() -> None:
    def captioner(**kwargs) -> AttentionCaptionerForConditionalGeneration:
        backbone = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
        sizes = {"embedding_size": 8, "hidden_size": 16, "attention_size": 8, "memory_size": 12}
        config = AttentionCaptionerConfig(vocab_size=40, backbone_config=backbone, **sizes, **kwargs)
        return AttentionCaptionerForConditionalGeneration(config)

    model = captioner(freeze_backbone=False)
    arguments = LoopArguments(output_dir="x", learning_rate=1e-2, weight_decay=0.1)
    optimizer = create_optimizer(model, arguments, {"model.encoder.backbone.": 1e-4})
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = Counter()
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            name = names.pop(id(parameter))
            assert group["lr"] == (1e-4 if "backbone" in name else 1e-2)
            plain = parameter.ndim >= 2 and "embed_tokens" not in name
            assert group["weight_decay"] == (0.1 if plain else 0.0), name
            found[plain] += 1
    assert not names
    assert min(found.values()) > 3
    with pytest.raises(ValueError, match="names \\['encoder.'\\]"):
        create_optimizer(model, arguments, {"encoder.": 1e-4})
    frozen = captioner()
    trained = {id(p) for group in create_optimizer(frozen, arguments).param_groups for p in group["params"]}
    assert not trained & {id(p) for p in frozen.get_encoder().backbone.parameters()}
