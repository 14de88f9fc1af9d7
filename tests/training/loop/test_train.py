"""Steps, and what ends a run."""

import math
import sys
from collections import Counter
from pathlib import Path
from typing import get_args

import pytest
import torch
from common import tiny_run as tiny
from common.runs import RANDOM, assert_same, names, scores
from common.scripts import log
from common.tiny_run import RunArguments, tiny_run
from safetensors.torch import load_file
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.data import DataLoader
from transformers import ResNetConfig

from hf_attention import AttentionCaptionerConfig, AttentionCaptionerForConditionalGeneration
from hf_attention.training.data.collators import CaptionCollator
from hf_attention.training.loop.arguments import LoopArguments, Schedule
from hf_attention.training.loop.batches import SizedBatches
from hf_attention.training.loop.objective import Objective
from hf_attention.training.loop.train import create_optimizer, make_accelerator


def test_accumulated_steps_equal_large_ones(tmp_path: Path) -> None:
    for name, batch_size, accumulation in (("whole", 8, 1), ("parts", 4, 2)):
        run = RunArguments(batch_size=batch_size)
        tiny_run(tmp_path / name, run, gradient_accumulation_steps=accumulation)
    assert_same(tmp_path / "whole", tmp_path / "parts", exact=False)
    first, second = (log(tmp_path / name) for name in ("whole", "parts"))
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
    assert [line["epoch"] for line in log(tmp_path) if "evaluation_seconds" in line] == [1, 2]


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
    assert [line["loss"] for line in log(tmp_path) if "evaluation_seconds" in line] == [3.0, 1.0, 2.0, 1.5]


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


def test_no_clipping(tmp_path: Path) -> None:
    """A norm of 0 is `Trainer`'s "off"."""
    for name, norm in {"off": 0, "infinite": math.inf, "large": 1e9, "small": 1e-3}.items():
        tiny_run(tmp_path / name, max_grad_norm=norm, weight_decay=0.0)
    assert_same(tmp_path / "off", tmp_path / "large")
    assert_same(tmp_path / "off", tmp_path / "infinite")
    with pytest.raises(AssertionError):
        assert_same(tmp_path / "off", tmp_path / "small")


@pytest.mark.parametrize("schedule", get_args(Schedule))
@pytest.mark.parametrize("warmup_steps", [0, 3, 4])
def test_every_schedule_takes_all_steps(
    tmp_path: Path, schedule: str, warmup_steps: int, caplog: pytest.LogCaptureFixture
) -> None:
    if schedule == "polynomial" and warmup_steps == 4:
        pytest.skip("refused")
    result = tiny_run(tmp_path, max_steps=4, lr_scheduler_type=schedule, warmup_steps=warmup_steps)
    assert result.state.step == 4
    is_warned = warmup_steps == 4 and schedule != "constant"
    assert ("never reaches `learning_rate`" in caplog.text) == is_warned


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_grad_norm": -1.0}, "`max_grad_norm` must be at least 0, got -1.0"),
        ({"lr_scheduler_type": "reduce_lr_on_plateau"}, "`lr_scheduler_type` must be one of linear, cosine, "),
        ({"lr_scheduler_type": "polynomial", "warmup_steps": 15}, "`warmup_steps` must be fewer .* got 15 of 15"),
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
