"""What is tried before the first step of a run."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from common.tiny_captioner import make_model, make_processor
from huggingface_hub import ModelCard
from PIL import Image
from transformers import PreTrainedModel

from hf_attention.training.loop.arguments import LoopArguments
from hf_attention.training.loop.checkpoints import Checkpoints
from hf_attention.training.loop.run import Run
from hf_attention.training.publish.arguments import HubArguments
from hf_attention.training.tasks.captioning.picture import draw_caption


def rehearse(
    folder: Path,
    model: PreTrainedModel | None = None,
    draw: Callable | None = None,
    metrics: dict[str, float] | None = None,
    **options,
) -> PreTrainedModel:
    """Rehearses a run of a tiny captioner; returns it."""
    loop = LoopArguments(output_dir=str(folder), **options)
    model = make_model() if model is None else model
    run = Run(loop, HubArguments())
    run.rehearse(model, make_processor(), "image-to-text", [loop], lambda model: metrics or {"cider": 0.5}, draw=draw)
    return model


def test_nothing_of_it_is_left(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    seen = []

    def draw(model: PreTrainedModel):
        seen.append(model)
        return draw_caption(model, make_processor(), Image.new("RGB", (64, 64)))

    model = rehearse(tmp_path, draw=draw)
    assert not list(tmp_path.iterdir())
    assert seen and seen[0] is not model, "the card's picture is of the model as it is loaded at the end"
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric_for_best_model": "bleu"}, "`metric_for_best_model` must be one of cider, got 'bleu'"),
        ({"greater_is_better": False}, "`greater_is_better` must be True with `metric_for_best_model` 'cider'"),
        (
            {"metric_for_best_model": "ter", "metrics": {"ter": 1.0}},
            "`greater_is_better` must be False with `metric_for_best_model` 'ter', got True",
        ),
    ],
)
def test_the_metric_is_one_that_there_is(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rehearse(tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_a_model_that_cannot_be_saved(tmp_path: Path) -> None:
    model = make_model()
    model.generation_config.update(num_beams=1, length_penalty=0.5)
    with pytest.raises(ValueError, match="length_penalty"):
        rehearse(tmp_path, model)
    assert not list(tmp_path.iterdir())


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: PreTrainedModel, folder: Path) -> None:
        (Path(folder) / "config.json").write_text("{")
        raise OSError(28, "No space left on device")

    model = make_model()
    monkeypatch.setattr(type(model), "save_pretrained", full)
    with pytest.raises(OSError, match="No space left"):
        rehearse(tmp_path, model)
    assert not list(tmp_path.iterdir())


def test_a_card_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: ModelCard, path: Path) -> None:
        raise OSError("no card")

    monkeypatch.setattr(ModelCard, "save", refuse)
    with pytest.raises(OSError, match="no card"):
        rehearse(tmp_path)
    assert not list(tmp_path.iterdir())


def test_processes_agree_on_the_model_after_it(tmp_path: Path) -> None:
    """Only one of them saves it; what a checkpoint says of the model is compared on each."""

    def said(model: PreTrainedModel) -> dict:
        arguments = LoopArguments(output_dir=str(tmp_path))
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        schedule = torch.optim.lr_scheduler.ConstantLR(optimizer)
        return Checkpoints(arguments, None, schedule, None, None, config=model.config).config

    assert said(rehearse(tmp_path)) == said(make_model())


def test_what_a_killed_rehearsal_left_is_removed(tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def kill(model: PreTrainedModel) -> None:
        left.update({path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()})
        raise Killed

    left: dict[Path, bytes] = {}
    with pytest.raises(Killed):
        rehearse(tmp_path, draw=kill)
    for path, content in left.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    assert any(json.loads(content) for path, content in left.items() if path.name == "config.json")
    rehearse(tmp_path, overwrite_output_dir=True)
    assert not list(tmp_path.iterdir())
