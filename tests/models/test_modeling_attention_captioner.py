"""The captioner as a model of transformers: what is saved, what is loaded, and what is said where something lacks."""

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from common.tiny_captioner import PAD, START, UNKNOWN, make_model, make_processor
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForImageTextToText,
    GenerationConfig,
    PreTrainedModel,
    pipeline,
)
from transformers.utils import logging as transformers_logging

import hf_attention
from hf_attention import (
    AttentionCaptionerConfig,
    AttentionCaptionerForConditionalGeneration,
    AttentionCaptionerModel,
)


BACKBONES = [None, "vit", "resnet", "clip_vision_model"]
CLASSES = [AttentionCaptionerModel, AttentionCaptionerForConditionalGeneration]


def tensors_of(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Weights and buffers, those that are in no file included."""
    return dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))


def assert_same(model: PreTrainedModel, expected: PreTrainedModel, but: str | None = None) -> None:
    tensors, expected_tensors = tensors_of(model), tensors_of(expected)
    assert tensors.keys() == expected_tensors.keys()
    for name, tensor in tensors.items():
        assert tensor.dtype == expected_tensors[name].dtype, name
        assert torch.equal(tensor, expected_tensors[name]) == (name != but), name


@pytest.fixture
def warnings_of_transformers(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    transformers_logging.enable_propagation()
    with caplog.at_level(logging.WARNING, "transformers"):
        yield caplog
    transformers_logging.disable_propagation()


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("model_class", CLASSES)
def test_weights_and_buffers_survive(
    model_class: type[PreTrainedModel], tied: bool, backbone: str | None, tmp_path: Path, warnings_of_transformers
) -> None:
    model = make_model(model_class, backbone=backbone, tie_word_embeddings=tied, num_regions=3)
    if backbone == "clip_vision_model":
        assert set(dict(model.named_buffers())) - set(model.state_dict())
    model.save_pretrained(tmp_path)
    loaded, info = model_class.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert not warnings_of_transformers.records
    assert_same(loaded, model)
    assert [p.requires_grad for p in loaded.parameters()] == [p.requires_grad for p in model.parameters()]
    if model_class is AttentionCaptionerForConditionalGeneration:
        assert (loaded.lm_head.weight is loaded.model.decoder.embed_tokens.weight) == tied


def test_the_base_model_loads_from_the_whole_one_and_back(tmp_path: Path) -> None:
    model = make_model()
    model.save_pretrained(tmp_path)
    assert_same(AttentionCaptionerModel.from_pretrained(tmp_path), model.model)
    model.model.save_pretrained(tmp_path / "base")
    whole, info = type(model).from_pretrained(tmp_path / "base", output_loading_info=True)
    assert set(info["missing_keys"]) == {"lm_head.weight", "lm_head.bias"}
    assert_same(whole.model, model.model)


@pytest.mark.parametrize(
    ("settings", "pattern"),
    [
        ({"backbone": None, "num_regions": 16, "box_positions": True, "context_gate": True}, ""),
        ({"backbone": None, "rnn_type": "gru", "attention_type": "scaled_dot"}, r"rnn|attention"),
        ({"backbone": "resnet"}, r"stages\.1\..*shortcut\.(?!.*num_batches)"),
    ],
    ids=["everything", "gru", "backbone"],
)
def test_only_a_missing_weight_is_new(
    settings: dict, pattern: str, tmp_path: Path, warnings_of_transformers: pytest.LogCaptureFixture
) -> None:
    model = make_model(**settings)
    model.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    names = [name for name in weights if re.search(pattern, name)]
    assert len(names) >= 5
    for missing in names:
        save_file({name: tensor for name, tensor in weights.items() if name != missing}, path, {"format": "pt"})
        warnings_of_transformers.clear()
        loaded, info = type(model).from_pretrained(tmp_path, output_loading_info=True)
        assert set(info["missing_keys"]) == {missing}
        assert missing in warnings_of_transformers.text
        assert_same(loaded, model, but=missing)
        new = tensors_of(loaded)[missing]
        assert new.isfinite().all() and new.abs().max() <= 2
        if missing.endswith("bias_ih_l0"):
            gates = new.view(-1, 8)
            assert gates.tolist() == [[float(len(gates) == 4 and gate == 1)] * 8 for gate in range(len(gates))]
        if missing.endswith("embed_tokens.weight"):
            assert new.std() > 0.01


def test_a_missing_tied_weight_is_said(tmp_path: Path) -> None:
    model = make_model(tie_word_embeddings=True)
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    (tied,) = {"lm_head.weight", "model.decoder.embed_tokens.weight"} & set(weights)
    del weights[tied]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    loaded, info = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert "model.decoder.embed_tokens.weight" in info["missing_keys"]
    assert loaded.lm_head.weight is loaded.model.decoder.embed_tokens.weight
    assert torch.equal(loaded.lm_head.bias, model.lm_head.bias)


@pytest.mark.parametrize("share", [0.9, 0.001, 0.0])
def test_a_file_cut_short_is_named(share: float, tmp_path: Path) -> None:
    model = make_model(backbone=None)
    model.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    for load in (type(model).from_pretrained, AutoModelForImageTextToText.from_pretrained):
        with pytest.raises(ValueError, match=f"safetensors file of '{re.escape(str(tmp_path))}' is cut short"):
            load(tmp_path)


@pytest.mark.parametrize("tied", [False, True])
def test_resize_token_embeddings(tied: bool, tmp_path: Path) -> None:
    model = make_model(tie_word_embeddings=tied)
    before = {name: tensor.clone() for name, tensor in tensors_of(model).items()}
    size = model.config.vocab_size
    model.resize_token_embeddings(size + 3)
    assert model.config.vocab_size == size + 3
    assert model.get_input_embeddings().weight.shape == (size + 3, 6)
    assert model.get_output_embeddings().weight.shape[0] == model.lm_head.bias.shape[0] == size + 3
    assert (model.lm_head.weight is model.model.decoder.embed_tokens.weight) == tied
    for name, tensor in tensors_of(model).items():
        assert torch.equal(tensor[: len(before[name])] if tensor.ndim else tensor, before[name]), name
    outputs = model(pixel_values=torch.zeros(1, 3, 32, 32), decoder_input_ids=torch.tensor([[START, size + 2]]))
    assert outputs.logits.shape == (1, 2, size + 3)
    model.save_pretrained(tmp_path)
    assert_same(type(model).from_pretrained(tmp_path), model)


def test_the_generation_configuration_survives(tmp_path: Path) -> None:
    model = make_model()
    assert model.suppressed_tokens() == [PAD, UNKNOWN]
    model.generation_config.update(max_length=17, num_beams=3, length_penalty=0.7)
    model.save_pretrained(tmp_path)
    saved = GenerationConfig.from_pretrained(tmp_path)
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path)
    for config in (saved, loaded.generation_config):
        assert (config.max_length, config.num_beams, config.length_penalty) == (17, 3, 0.7)
        assert config.suppress_tokens is None  # told from the special tokens of the moment
        assert (config.pad_token_id, config.bos_token_id, config.eos_token_id) == (None, None, None)


def test_the_folder_serves_everyone(tmp_path: Path) -> None:
    """What is saved, and nothing pickled among it."""
    make_model().save_pretrained(tmp_path)
    make_processor().save_pretrained(tmp_path)
    code = {path.name for path in tmp_path.glob("*.py")}
    others = {path.name for path in tmp_path.iterdir()} - code
    assert others == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "processor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["auto_map"] == {
        "AutoConfig": "configuration_attention_captioner.AttentionCaptionerConfig",
        "AutoModel": "modeling_attention_captioner.AttentionCaptionerModel",
        "AutoModelForImageTextToText": "modeling_attention_captioner.AttentionCaptionerForConditionalGeneration",
    }
    task = config["custom_pipelines"]["image-to-text"]
    assert task["impl"] == "pipeline_image_to_text.ImageToTextPipeline"
    assert task["pt"] == ["AutoModelForImageTextToText"]
    assert config["backbone_config"]["model_type"] == "vit"
    # Every file that one of them needs lies beside it, as it lies in the package.
    modules = {name.removesuffix(".py") for name in code}
    named = [*config["auto_map"].values(), task["impl"], "processing_attention_captioner.py"]
    assert {name.split(".")[0] for name in named} <= modules
    for path in tmp_path.glob("*.py"):
        assert set(re.findall(r"^\s*from \.(\w*) import", path.read_text(), re.MULTILINE)) <= modules
        # At the end of some stands what older transformers want to be told.
        assert path.read_text().startswith((Path(hf_attention.models.__file__).parent / path.name).read_text())


def test_auto_classes_load_with_the_package(tmp_path: Path) -> None:
    model = make_model(backbone="clip_vision_model")
    model.save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert type(config) is AttentionCaptionerConfig
    # With this field, `pipeline` would ask for trust in remote code although the package is there.
    assert not hasattr(config, "custom_pipelines")
    assert_same(AutoModel.from_pretrained(tmp_path), model.model)
    assert_same(AutoModelForImageTextToText.from_pretrained(tmp_path), model)
    # Local code wins where it is installed.
    trusting = AutoModelForImageTextToText.from_pretrained(tmp_path, trust_remote_code=True)
    assert type(trusting) is AttentionCaptionerForConditionalGeneration


def test_the_pipeline_needs_no_trust_with_the_package(tmp_path: Path) -> None:
    model, processor = make_model(), make_processor()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    image = Image.new("RGB", (40, 20), "red")
    captioner = pipeline("image-to-text", str(tmp_path), device="cpu")
    tokens = model.generate(**processor(images=image, return_tensors="pt"), max_new_tokens=6)
    expected = processor.batch_decode(tokens, skip_special_tokens=True)
    assert expected[0]
    assert captioner(image, max_new_tokens=6) == [{"generated_text": expected[0]}]


def test_half_precision_survives(tmp_path: Path) -> None:
    model = make_model(backbone="resnet").to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"
    inputs = make_processor()(images=Image.new("RGB", (40, 20), "red"), return_tensors="pt")
    expected = model.generate(**inputs.to(torch.bfloat16), max_new_tokens=6)
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert_same(loaded, model)
    assert torch.equal(loaded.generate(**inputs.to(torch.bfloat16), max_new_tokens=6), expected)
    assert torch.equal(loaded.generate(**inputs.to(torch.float32), max_new_tokens=6), expected)
    # And a float32 checkpoint in half precision, a float16 one in full.
    wide = AutoModelForImageTextToText.from_pretrained(tmp_path, dtype=torch.float32)
    assert_same(wide, model.float())
