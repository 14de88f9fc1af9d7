import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from datasets import DatasetDict
from safetensors.torch import load_file
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    ResNetConfig,
    ResNetModel,
    ViTImageProcessorPil,
    pipeline,
)

from hf_attention.scenes import make_scenes
from hf_attention.training.caption_metrics import caption_metrics


SCRIPT = Path(__file__).parents[1] / "scripts" / "train_captioner.py"
BACKBONE = {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1], "layer_type": "basic"}
SMALL = {
    "embedding_size": 16,
    "hidden_size": 32,
    "attention_size": 16,
    "memory_size": 32,
    "min_count": 1,
    "image_size": 32,
    "warmup_steps": 3,
    "logging_steps": 1,
    "learning_rate": 1e-2,
    "images_per_batch": 4,
    "label_smoothing": 0,
    **dict.fromkeys(["embedding_dropout", "hidden_dropout", "readout_dropout", "memory_dropout"], 0.0),
}


@pytest.fixture(scope="module")
def scenes() -> DatasetDict:
    return make_scenes(train=40, validation=8, test=8, held_out=0, image_size=32)


@pytest.fixture(scope="module")
def folder(scenes: DatasetDict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set and a backbone, as folders."""
    folder = tmp_path_factory.mktemp("inputs")
    scenes.save_to_disk(folder / "scenes")
    ResNetConfig(**BACKBONE).save_pretrained(folder / "config")
    torch.manual_seed(0)
    ResNetModel(ResNetConfig(**BACKBONE)).save_pretrained(folder / "backbone")
    # The processor crops, as many do: `image_size` must see to it that the whole picture is seen.
    crop = {"height": 16, "width": 16}
    processor = ViTImageProcessorPil(size={"height": 64, "width": 64}, crop_size=crop, do_center_crop=True)
    processor.save_pretrained(folder / "backbone")
    return folder


def command_line(folder: Path, **options) -> list[str]:
    options = {"dataset_name": folder / "scenes", "features_dir": folder / "features", **SMALL, **options}
    return [part for name, value in options.items() for part in (f"--{name}", str(value))]


@pytest.fixture
def train_captioner(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Runs the script in this process, with the options given."""
    spec = importlib.util.spec_from_file_location("train_captioner", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(**options) -> None:
        AcceleratorState._reset_state(reset_partial_state=True)
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *command_line(folder, **options)])
        module.main()

    return run


def losses(output_dir: Path) -> list[float]:
    lines = map(json.loads, (output_dir / "log.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if "loss" in line]


def test_frozen_backbone(scenes: DatasetDict, folder: Path, train_captioner: Callable, tmp_path: Path) -> None:
    output_dir = tmp_path / "run"
    options = {"backbone": folder / "backbone", "output_dir": output_dir}
    train_captioner(**options, num_train_epochs=5, mirror=True, tune_generation=True, do_test=True)
    found = losses(output_dir)
    assert np.mean(found[-3:]) < 0.8 * np.mean(found[:3])

    # The folder is a model like any other, and gives the captions that were scored.
    results = json.loads((output_dir / "results.json").read_text())
    captioner = pipeline("image-to-text", model=str(output_dir))
    assert captioner.image_processor.size == {"height": 32, "width": 32}
    assert not captioner.image_processor.do_center_crop
    assert captioner.model.generation_config.num_beams == results["generation"]["num_beams"]
    test = scenes["test"]
    captions = [answer[0]["generated_text"] for answer in captioner(test["image"][:])]
    assert caption_metrics(captions, test["captions"][:]) == pytest.approx(results["test"], abs=1e-3)
    assert results["seed"] == 0
    assert "--mirror True" in results["command"]

    # Nothing is learned in the backbone, and its features are not computed again.
    backbone = load_file(folder / "backbone" / "model.safetensors")
    model = AutoModelForImageTextToText.from_pretrained(output_dir)
    for name, weight in model.get_encoder().backbone.state_dict().items():
        assert torch.equal(weight, backbone[name]), name
    files = sorted((folder / "features").iterdir())
    assert len(files) == 4
    with pytest.raises(ValueError, match="not empty"):
        train_captioner(**options)
    train_captioner(**options, num_train_epochs=1, overwrite_output_dir=True, attention_type="none")
    assert sorted((folder / "features").iterdir()) == files
    assert AutoModelForImageTextToText.from_pretrained(output_dir).config.attention_type is None


def test_backbone_from_scratch(scenes: DatasetDict, folder: Path, tmp_path: Path) -> None:
    output_dir = tmp_path / "run"
    options = {"backbone_config": folder / "config", "output_dir": output_dir, "num_train_epochs": 2}
    options |= {"attention_type": "scaled_dot", "attention_order": "after_rnn", "rnn_type": "gru"}
    options |= {"tokenizer_type": "bpe", "vocab_size": 300, "num_beams": 2, "mixed_precision": "bf16"}
    result = subprocess.run(
        [sys.executable, SCRIPT, *command_line(folder, **options)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])},
    )
    assert result.returncode == 0, result.stderr
    found = losses(output_dir)
    assert np.mean(found[-3:]) < 0.9 * np.mean(found[:3])
    processor = AutoProcessor.from_pretrained(output_dir)
    model = AutoModelForImageTextToText.from_pretrained(output_dir)
    config = model.config
    assert (config.attention_type, config.attention_order, config.rnn_type) == ("scaled_dot", "after_rnn", "gru")
    assert model.generation_config.num_beams == 2
    images = processor(images=scenes["test"]["image"][:2], return_tensors="pt")
    captions = processor.batch_decode(model.generate(**images), skip_special_tokens=True)
    assert all(captions)
    assert json.loads(result.stdout.splitlines()[-1])["generation"]["num_beams"] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_column": "photo"}, r"`image_column` is 'photo', but .*'image', 'image_id', 'captions'"),
        ({"captions_column": "caption"}, "`captions_column` is 'caption', but"),
        ({"validation_split": "dev"}, r"no split 'dev'. It has \['test', 'train', 'validation'\]"),
        ({"attention_type": "none", "context_gate": True}, "`context_gate` needs attention"),
        ({"backbone_learning_rate": 1e-4}, "needs `train_backbone`"),
        ({"backbone_config": "x"}, "either `backbone`"),
    ],
)
def test_bad_arguments(
    folder: Path, train_captioner: Callable, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        train_captioner(backbone=folder / "backbone", output_dir=tmp_path / "run", **options)


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(folder: Path, train_captioner: Callable, tmp_path: Path) -> None:
    options = {"backbone": folder / "backbone", "num_train_epochs": 2}
    train_captioner(**options, output_dir=tmp_path / "one", gradient_accumulation_steps=2)
    arguments = command_line(folder, **options, output_dir=tmp_path / "two")
    result = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", SCRIPT, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[1]), "ACCELERATE_USE_CPU": "true"},
    )
    assert result.returncode == 0, result.stderr
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name, weight in one.items():
        torch.testing.assert_close(
            weight, two[name], rtol=1e-3, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
        )
    scores = [json.loads((tmp_path / name / "results.json").read_text())["validation"] for name in ("one", "two")]
    assert scores[0] == pytest.approx(scores[1], abs=1)
