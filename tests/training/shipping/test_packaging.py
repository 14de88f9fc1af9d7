import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from common import tiny_captioner
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, pipeline

from hf_attention.training.shipping.packaging import package, portable
from hf_attention.training.shipping.recipes import RECIPES


RECIPE = replace(RECIPES["scenes-captioner"], measure=lambda folder: {"precision": 0.9876, "perplexity": 4.321})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    tiny_captioner.make_model().save_pretrained(tmp_path / "run")
    tiny_captioner.make_processor().save_pretrained(tmp_path / "run")
    (tmp_path / "run" / "results.json").write_text("{}")
    return tmp_path / "run"


def test_a_run_becomes_weights_settings_and_a_card(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shipped"
    scores = package("scenes-captioner", RECIPE, run, folder)
    assert scores == RECIPE.measure("")
    files = {path.name for path in folder.iterdir()}
    assert {"model.safetensors", "README.md", "config.json", "processor_config.json", "tokenizer.json"} <= files
    assert not any(name.endswith(".py") or name == "results.json" for name in files)
    assert not any("auto_map" in path.read_text() for path in folder.glob("*.json"))
    weights, halved = load_file(run / "model.safetensors"), load_file(folder / "model.safetensors")
    assert weights.keys() == halved.keys()
    for name, weight in weights.items():
        kept = halved[name]
        assert kept.dtype is (torch.float16 if weight.is_floating_point() else weight.dtype)
        assert torch.equal(kept, weight.to(kept.dtype))
    card = (folder / "README.md").read_text()
    assert "| 98.8 % |" in card and "| 4.32 |" in card
    assert all(command in card for command in RECIPE.commands)


def test_what_is_packaged_loads_in_float32(run: Path, tmp_path: Path) -> None:
    package("scenes-captioner", RECIPE, run, tmp_path / "shipped")
    assert AutoModelForImageTextToText.from_pretrained(tmp_path / "shipped").dtype is torch.float32
    [answer] = pipeline("image-to-text", model=str(tmp_path / "shipped"))(Image.new("RGB", (40, 30)))
    assert isinstance(answer["generated_text"], str)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no trained model: there is no model.safetensors"):
        package("scenes-captioner", RECIPE, tmp_path, tmp_path / "shipped")
    assert not (tmp_path / "shipped").exists()


def test_settings_keep_all_but_what_names_code_and_places() -> None:
    settings = {"auto_map": {}, "parts": [{"auto_map": {}, "size": 1}], "local_files_only": True, "none": None}
    assert json.dumps(portable(settings)) == '{"parts": [{"size": 1}], "none": null}'
