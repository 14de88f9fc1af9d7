"""What has two names in the transformers that the package is for, and what it says to others."""

import importlib
import json
import re
import subprocess
import warnings
from pathlib import Path

import pytest
import torch
from common.copies import run_with_the_package
from common.factories import FACTORIES, ModelFactory, generation_inputs, make_tokens, over_models
from packaging.requirements import Requirement
from packaging.version import Version
from torch import nn
from transformers import CLIPVisionConfig, GenerationConfig

import hf_attention
from hf_attention import AttentionEnsembleForConditionalGeneration, RecurrentCache
from hf_attention.models import versions


ROOT = Path(__file__).parents[2]
EARLY = Path(__file__).parents[1] / "recorded" / "early_checkpoints"


def given(factory: ModelFactory, model, tokens: torch.LongTensor) -> dict[str, torch.Tensor]:
    """The arguments of `forward` for some tokens."""
    if model.config.is_encoder_decoder:
        return {**factory.make_inputs(2), "decoder_input_ids": tokens}
    return {"input_ids": tokens}


@over_models
@torch.no_grad()
def test_the_cache_has_both_names(factory: ModelFactory):
    """In the arguments and the outputs of a model, of its base model and of `generate()`."""
    model, tokens = factory.make_model(), make_tokens(2, 5)
    first, rest = tokens[:, :3], tokens[:, 3:]
    modules = [(model, "logits"), (model.model, "last_hidden_state")]
    for module, output in modules[: 2 if isinstance(model.model, nn.Module) else 1]:  # an ensemble has no base model
        expected = module(**given(factory, model, tokens))[output][:, 3:]
        for name in ("cache", "past_key_values"):
            outputs = module(**given(factory, model, first), use_cache=True)
            cache = outputs.cache
            assert type(cache) is type(model.make_cache())
            assert outputs.past_key_values is cache and outputs["cache"] is cache
            assert outputs["past_key_values"] is cache and outputs.get("cache") is cache and "cache" in outputs
            outputs = module(**given(factory, model, rest), **{name: cache})
            torch.testing.assert_close(outputs[output], expected)
            assert outputs.cache is cache
        with pytest.raises(ValueError, match="pass one of them, got both"):
            module(**given(factory, model, rest), cache=cache, past_key_values=cache)


@over_models
@torch.no_grad()
def test_generation_goes_on_from_a_cache_of_either_name(factory: ModelFactory):
    model, inputs = factory.make_model(), factory.make_inputs(2)
    inputs = generation_inputs(model, inputs)
    asked = {"return_dict_in_generate": True}
    expected = model.generate(**inputs, **asked, max_new_tokens=6, min_new_tokens=6).sequences
    begun = "decoder_input_ids" if model.config.is_encoder_decoder else "input_ids"
    for name in ("cache", "past_key_values"):
        outputs = model.generate(**inputs, **asked, max_new_tokens=3, min_new_tokens=3)
        assert type(outputs.cache) is type(model.make_cache())
        assert outputs.past_key_values is outputs.cache is outputs["cache"] is outputs.get("cache")
        more = {**inputs, begun: outputs.sequences, name: outputs.cache}
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            again = model.generate(**more, **asked, max_new_tokens=3, min_new_tokens=3)
        assert again.sequences.equal(expected)
    with pytest.raises(ValueError, match="pass one of them, got both"):
        model.generate(**inputs, cache=model.make_cache(), past_key_values=model.make_cache())


@torch.no_grad()
def test_the_cache_of_an_ensemble_has_both_names():
    factory = FACTORIES[0]
    ensemble = AttentionEnsembleForConditionalGeneration.from_members([factory.make_model(), factory.make_model()])
    tokens, inputs = make_tokens(2, 5), factory.make_inputs(2)
    expected = ensemble(**inputs, decoder_input_ids=tokens).logits[:, 3:]
    for name in ("cache", "past_key_values"):
        cache = ensemble(**inputs, decoder_input_ids=tokens[:, :3]).cache
        outputs = ensemble(**inputs, decoder_input_ids=tokens[:, 3:], **{name: cache})
        torch.testing.assert_close(outputs.logits, expected)
        assert outputs.past_key_values is outputs.cache is cache


def test_the_decoder_takes_either_name():
    decoder = FACTORIES[-1].make_model().model.decoder
    tokens = make_tokens(2, 5)
    expected = decoder(input_ids=tokens).last_hidden_state[:, 3:]
    for name in ("cache", "past_key_values"):
        cache = RecurrentCache()
        decoder(input_ids=tokens[:, :3], **{name: cache})
        torch.testing.assert_close(decoder(input_ids=tokens[:, 3:], **{name: cache}).last_hidden_state, expected)


def run_as(version: str, code: str) -> subprocess.CompletedProcess:
    """Python where transformers says that it is another version."""
    return run_with_the_package(f"import transformers; transformers.__version__ = {version!r}\n{code}")


def test_an_older_transformers_is_refused_in_words():
    for version in ("4.57.6", "4.99.0.dev0"):
        result = run_as(version, "import hf_attention")
        assert result.returncode == 1
        assert f"needs transformers 5.0 or newer, got {version}: `pip install " in result.stderr.split("\n")[-2]


def test_a_newer_transformers_is_warned_of_once():
    code = "import hf_attention, hf_attention.training.loop.train; hf_attention.register(); import hf_attention"
    result = run_as("5.99.1", code)
    assert result.returncode == 0
    assert result.stderr.count("not with 5.99.1") == 1
    assert f'pip install "transformers>={versions.OLDEST},<' in result.stderr
    for tested in (f"{versions.NEWEST}.9", f"{versions.OLDEST}.1", "5.3.0.dev0"):
        result = run_as(tested, code)
        assert (result.returncode, result.stderr) == (0, "")


def test_what_fails_on_a_newer_transformers_says_so(monkeypatch: pytest.MonkeyPatch):
    model, inputs = FACTORIES[0].make_model(), FACTORIES[0].make_inputs(1)

    def broken(self, *args, **kwargs):
        raise TypeError("forward() got an unexpected keyword argument 'memories'")

    monkeypatch.setattr(type(model), "prepare_inputs_for_generation", broken)
    with pytest.raises(TypeError, match="memories"):
        model.generate(**inputs)
    monkeypatch.setattr(versions, "IS_NEWER_THAN_TESTED", True)
    with pytest.raises(RuntimeError, match="was tested with transformers .*pip install .*TypeError: forward.*memo"):
        model.generate(**inputs)


def test_the_range_is_that_of_the_package():
    tomllib = pytest.importorskip("tomllib", reason="before Python 3.11 nothing reads pyproject.toml")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [transformers] = [each for each in map(Requirement, project["dependencies"]) if each.name == "transformers"]
    major, minor = map(int, versions.NEWEST.split("."))
    for version, is_inside in (
        (f"{versions.OLDEST}.0", True),
        ("4.57.6", False),
        (f"{versions.NEWEST}.7", True),
        (f"{major}.{minor + 1}.0", False),
    ):
        assert (Version(version) in transformers.specifier) == is_inside, version
    assert f"hf_attention {hf_attention.__version__} was tested" in versions.UNTESTED


def test_only_one_module_asks_for_a_version():
    asks = re.compile(r"transformers\.__version__|importlib\.metadata\.version\(.transformers|is_transformers_version")
    files = [path for path in (ROOT / "hf_attention").rglob("*.py") if asks.search(path.read_text())]
    # The other writes down what a run was made with.
    assert {path.name for path in files} <= {"versions.py", "results.py"}


def test_private_names_of_transformers_are_listed():
    """Each that a class overrides, or that the package calls, stands in the docstring of `versions`."""
    used = set()
    for path in (ROOT / "hf_attention").glob("*.py"):
        module = importlib.import_module(f"hf_attention.{path.stem}")
        for each in vars(module).values():
            if isinstance(each, type) and each.__module__ == module.__name__:
                theirs = [base for base in each.__mro__ if base.__module__.startswith("transformers.")]
                own = {name for name in vars(each) if re.match("_[a-z]", name) and not name.startswith("_abc_")}
                used |= {name for name in own for base in theirs if name in vars(base)}
        used |= set(re.findall(r"super\(\)\.(_[a-z]\w*)\(", path.read_text()))
    used -= {"_registered_impl", "_auto_class", "_load_processor", "_load_image_processor"}
    used -= {"_load_video_processor", "_load_feature_extractor", "_sanitize_parameters", "_forward"}
    missing = {name for name in used if f"{name}`" not in versions.__doc__}
    assert not missing


def test_names_of_a_wrapped_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What transformers until 5.5 needs is told by the model that it builds."""
    vision = CLIPVisionConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    hf_attention.AttentionCaptionerConfig(backbone_config=vision).save_pretrained(tmp_path)
    renamed = versions.names_of_backbones(tmp_path, is_base_model=False)
    if versions._INSTALLED < Version("5.6"):
        [(pattern, replacement)] = renamed.items()
        for prefix in ("", "model."):
            new, old = f"{prefix}encoder.backbone.embeddings.x", f"{prefix}encoder.backbone.vision_model.embeddings.x"
            assert re.sub(pattern, replacement, new) == re.sub(pattern, replacement, old) == old
    elif versions._INSTALLED >= Version("5.18"):
        assert renamed == {}


@pytest.mark.parametrize("name", [path.name for path in sorted(EARLY.iterdir())])
def test_checkpoints_of_the_first_code_say_what_they_said(name: str):
    """They were saved beside transformers 5.23, before any other was looked at."""
    factory = next(each for each in FACTORIES if each.name == name.replace("ensemble", "captioner"))
    model_class = AttentionEnsembleForConditionalGeneration if name == "ensemble" else factory.model_class
    model, info = model_class.from_pretrained(EARLY / name, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    inputs = generation_inputs(model, factory.make_inputs(3))
    said = json.loads((EARLY / name / "tokens.json").read_text())
    assert model.generate(**inputs, num_beams=3, max_new_tokens=6).tolist() == said


@over_models
def test_the_length_of_the_configuration_holds_beside_a_configuration(factory: ModelFactory):
    model = factory.make_model()
    model.generation_config.max_length = 9
    inputs = generation_inputs(model, factory.make_inputs(1))
    for config in (None, GenerationConfig(num_beams=2, eos_token_id=-1)):
        sequences = model.generate(**inputs, generation_config=config, min_length=9)
        assert sequences.shape[1] == 9
