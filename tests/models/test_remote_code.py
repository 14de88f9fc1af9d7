"""A saved folder serves those who do not have this package: the code it carries gives the same answers."""

import inspect
import json
from pathlib import Path

import pytest
import torch
from common.remote_code import run_without_the_package
from common.tiny_captioner import make_model, make_processor
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForImageTextToText, AutoProcessor, pipeline

import hf_attention


def answer(folder: str, image: str, **trust) -> tuple[dict[str, torch.Tensor], list[dict]]:
    """Everything that is compared: tensors, and the records of a pipeline. It also runs without the package."""
    model = AutoModelForImageTextToText.from_pretrained(folder, **trust)
    processor = AutoProcessor.from_pretrained(folder, **trust)
    inputs = processor(images=Image.open(image), text="a red", text_target="a blue square", return_tensors="pt")
    tensors = dict(inputs)
    labels = inputs.pop("labels")
    with torch.no_grad():
        outputs = model(**inputs, output_attentions=True)
        tensors["logits"], tensors["cross_attentions"] = outputs.logits, outputs.cross_attentions[0]
        tensors["loss"] = model(pixel_values=inputs["pixel_values"], labels=labels).loss
        tensors["hidden"] = AutoModel.from_pretrained(folder, **trust)(**inputs).last_hidden_state
    tensors["greedy"] = model.generate(**inputs, max_new_tokens=5)
    beams = model.generate(
        pixel_values=inputs["pixel_values"],
        num_beams=3,
        max_new_tokens=6,
        output_attentions=True,
        return_dict_in_generate=True,
    )
    tensors["beam"] = beams.sequences
    tensors["beam_attentions"] = torch.stack([step[0] for step in beams.cross_attentions])
    captioner = pipeline("image-to-text", folder, device="cpu", **trust)
    records = captioner(image, max_new_tokens=6, output_attentions=True)
    tensors["pipeline_attentions"] = records[0].pop("attentions")
    tensors["regions"], tensors["grid"] = records[0].pop("regions"), torch.tensor(records[0].pop("grid"))
    return {name: tensor.contiguous() for name, tensor in tensors.items()}, records


WITHOUT_THE_PACKAGE = """
import json
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor, pipeline

ANSWER
folder, image, out = sys.argv[1:]
tensors, records = answer(folder, image, trust_remote_code=True)
save_file(tensors, out + "/tensors.safetensors")
with open(out + "/records.json", "w") as file:
    json.dump(records, file)

config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
model = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True)
for thing in (config, model):
    assert type(thing).__module__.startswith("transformers_modules."), type(thing)
try:
    AutoModelForImageTextToText.from_pretrained(folder)
    raise AssertionError("Remote code ran without trust.")
except ValueError as error:
    assert "trust_remote_code=True" in str(error), error

model.save_pretrained(out + "/again")
AutoProcessor.from_pretrained(folder, trust_remote_code=True).save_pretrained(out + "/again")
"""


def answer_without_the_package(folder: Path, image: Path, out: Path) -> tuple[dict[str, torch.Tensor], list[dict]]:
    source = WITHOUT_THE_PACKAGE.replace("ANSWER", inspect.getsource(answer))
    run_without_the_package(source, out, folder, image, out)
    return load_file(out / "tensors.safetensors"), json.loads((out / "records.json").read_text())


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "picture.png"
    Image.linear_gradient("L").convert("RGBA").resize((40, 30)).save(path)
    return path


def assert_same_answers(got: tuple, expected: tuple) -> None:
    tensors, records = got
    expected_tensors, expected_records = expected
    assert tensors.keys() == expected_tensors.keys()
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, expected_tensors[name], msg=lambda text, name=name: f"{name}: {text}")
        else:
            assert torch.equal(tensor, expected_tensors[name]), name
    assert records == expected_records


def test_the_same_answers_without_the_package(image: Path, tmp_path: Path) -> None:
    """Then saved from there, again without the package, and with it."""
    folder = tmp_path / "saved"
    make_model(backbone="clip_vision_model", num_regions=16).save_pretrained(folder)
    make_processor().save_pretrained(folder)
    expected = answer(str(folder), str(image))
    assert expected[1][0]["generated_text"] and expected[0]["pipeline_attentions"].shape == (6, 16)

    assert_same_answers(answer_without_the_package(folder, image, tmp_path / "first"), expected)
    again = tmp_path / "first" / "again"
    assert {path.name for path in again.iterdir()} == {path.name for path in folder.iterdir()}
    for path in folder.glob("*.py"):
        assert (again / path.name).read_text() == path.read_text()
    for name in ("auto_map", "custom_pipelines"):
        first, second = (json.loads((place / "config.json").read_text())[name] for place in (folder, again))
        assert first == second

    assert_same_answers(answer_without_the_package(again, image, tmp_path / "second"), expected)
    assert_same_answers(answer(str(again), str(image)), expected)
    model = AutoModelForImageTextToText.from_pretrained(again)
    assert type(model) is hf_attention.AttentionCaptionerForConditionalGeneration
