import json
import re
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoProcessor

import hf_attention
from hf_attention.shipped import FOLDER, find_checkpoint
from hf_attention.training.shipping.recipes import RECIPES


LARGEST, LARGEST_OF_ALL = 2_500_000, 6_000_000


def test_what_is_shipped_is_what_there_are_recipes_for() -> None:
    assert set(hf_attention.checkpoints) == set(RECIPES)
    assert {path.name for path in FOLDER.iterdir()} == set(RECIPES)


def test_an_unknown_name_is_answered_by_those_that_there_are() -> None:
    with pytest.raises(ValueError, match=f"`name` must be one of {', '.join(hf_attention.checkpoints)}, got 'ours'"):
        hf_attention.checkpoint("ours")


def test_a_folder_goes_before_what_is_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in hf_attention.checkpoints:
        assert find_checkpoint(name) == hf_attention.checkpoint(name)
        (tmp_path / name).mkdir()
        assert find_checkpoint(name) == name
    assert find_checkpoint("user/model") == "user/model"
    assert find_checkpoint("user/scenes-captioner") == "user/scenes-captioner"
    with pytest.raises(ValueError, match="no model 'scene-captioner' here. Did you mean scenes-captioner?"):
        find_checkpoint("scene-captioner")


def test_they_are_small() -> None:
    sizes = {name: sum(path.stat().st_size for path in (FOLDER / name).iterdir()) for name in hf_attention.checkpoints}
    assert max(sizes.values()) < LARGEST, sizes
    assert sum(sizes.values()) < LARGEST_OF_ALL, sizes


@pytest.mark.parametrize("name", hf_attention.checkpoints)
def test_a_folder_holds_weights_settings_and_a_card_alone(name: str) -> None:
    folder = Path(hf_attention.checkpoint(name))
    assert {path.suffix for path in folder.iterdir()} == {".json", ".md", ".safetensors"}
    with safe_open(folder / "model.safetensors", "pt") as weights:
        assert {weights.get_slice(key).get_dtype() for key in weights.keys()} <= {"F16", "I64"}  # noqa: SIM118
    settings = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    assert not any("auto_map" in each for each in settings)
    texts = [path.read_text() for path in folder.iterdir() if path.suffix != ".safetensors"]
    absolute_path = re.compile(r"(?<![\w.:/<>])/[\w.]+/")
    assert not any(absolute_path.search(text) for text in texts)
    assert all(command in (folder / "README.md").read_text() for command in RECIPES[name].commands)


@pytest.mark.parametrize("name", hf_attention.checkpoints)
def test_one_that_is_saved_takes_its_code_along(name: str, tmp_path: Path) -> None:
    folder = hf_attention.checkpoint(name)
    model_class = getattr(hf_attention, AutoConfig.from_pretrained(folder).architectures[0])
    model = model_class.from_pretrained(folder)
    model.save_pretrained(tmp_path)
    AutoProcessor.from_pretrained(folder).save_pretrained(tmp_path)
    for file in ("config.json", "tokenizer_config.json", "processor_config.json"):
        if (tmp_path / file).is_file():
            references = json.loads((tmp_path / file).read_text()).get("auto_map", {}).values()
            names = [name for each in references for name in ([each] if isinstance(each, str) else filter(None, each))]
            assert names or file != "config.json"
            assert all((tmp_path / f"{name.split('.')[0]}.py").is_file() for name in names)


@pytest.mark.parametrize("name", hf_attention.checkpoints)
def test_its_weights_are_read_as_float32(name: str) -> None:
    folder = hf_attention.checkpoint(name)
    model_class = getattr(hf_attention, AutoConfig.from_pretrained(folder).architectures[0])
    weights = model_class.from_pretrained(folder).state_dict().values()
    assert {weight.dtype for weight in weights if weight.is_floating_point()} == {torch.float32}
