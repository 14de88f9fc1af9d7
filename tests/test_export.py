"""Exported models say what the models say, for batches, sentences and sets of regions of other sizes."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from common.every_model import MODELS, Example, over_every_model
from common.onnx import needs_onnx
from torch import nn
from torch.testing import assert_close
from transformers import PreTrainedModel

from hf_attention import fast
from hf_attention.export import SECOND_AXES, Answering, DecoderStep, Encoding, export_onnx


ANSWERING = [name for name in MODELS if name.startswith("vqa_")]
LANGUAGE_MODELS = [name for name in MODELS if name.startswith("recurrent_lm")]
ENCODER_DECODERS = [name for name in MODELS if name not in (*ANSWERING, *LANGUAGE_MODELS, "ensemble")]
# Each takes seconds.
QUICK = ("captioner", "seq2seq", "vqa_top_down", "recurrent_lm")

# In PyTorch 2.6 the last state of an LSTM that is exported has a dimension too many.
needs_export = pytest.mark.skipif(not hasattr(torch.onnx, "ops"), reason="needs PyTorch 2.8 or newer")


@pytest.fixture
def onnx() -> None:
    needs_onnx()


runs_onnx = pytest.mark.usefixtures("onnx")


def over_files(names: list[str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "make_example",
        [pytest.param(MODELS[name], id=name, marks=() if name in QUICK else pytest.mark.slow) for name in names],
    )


def of_other_sizes(inputs: dict[str, torch.Tensor], fixed: set[str]) -> list[dict[str, torch.Tensor]]:
    """A batch twice as large, one of a single item, and, but where it is fixed, a shorter and a longer second axis."""
    batches = [{name: torch.cat([value, value.flip(0)]) for name, value in inputs.items()}]
    batches.append({name: value[:1] for name, value in inputs.items()})
    free = {name for name in inputs if SECOND_AXES.get(name, "none") not in {"none", *fixed}}
    batches.append({name: value[:, :-1] if name in free else value for name, value in inputs.items()})
    batches.append(
        {name: torch.cat([value, value[:, :2]], 1) if name in free else value for name, value in inputs.items()}
    )
    return batches


def fixed_axes(model: PreTrainedModel) -> set[str]:
    return set() if getattr(model.config, "num_regions", None) is None else {"regions"}


# torch.export


@pytest.fixture(params=["fast", "plain"])
def side(request: pytest.FixtureRequest):
    with nullcontext() if request.param == "fast" else fast.disable():
        yield


def check_exported(module: nn.Module, tensors: dict[str, torch.Tensor], others: list[dict]) -> None:
    """Of any number of rows."""
    dynamic_shapes = {"tensors": {name: {0: torch.export.Dim.DYNAMIC} for name in tensors}}
    exported = torch.export.export(module, (tensors,), dynamic_shapes=dynamic_shapes, strict=False).module()
    for given in (tensors, *others):
        assert_close(exported(given), module(given))


@needs_export
@over_every_model(*ENCODER_DECODERS)
@torch.no_grad()
def test_encoder_and_step_of_any_batch(make_example: Callable[[], Example], side: None) -> None:
    model, inputs = make_example()
    other_inputs = of_other_sizes(inputs, fixed={"words", "regions"})
    encoding, step = Encoding(model), DecoderStep(model)
    check_exported(encoding, inputs, other_inputs)

    def tensors_of(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        state = encoding(inputs)
        return {"input_ids": torch.full((len(state["hidden"]), 1), 5), **state}

    check_exported(step, tensors_of(inputs), [tensors_of(each) for each in other_inputs])


@needs_export
@over_every_model(*ANSWERING)
@torch.no_grad()
def test_answering_of_any_batch(make_example: Callable[[], Example], side: None) -> None:
    model, inputs = make_example()
    check_exported(Answering(model), inputs, of_other_sizes(inputs, fixed={"words", "regions"}))


# ONNX


class Session:
    """A file of ONNX, called with more than it takes."""

    def __init__(self, path: Path):
        import onnxruntime

        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.inputs = {each.name: each for each in self.session.get_inputs()}

    def __call__(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        outputs = self.session.run(None, {name: tensors[name].numpy() for name in self.inputs})
        names = [each.name for each in self.session.get_outputs()]
        return dict(zip(names, map(torch.from_numpy, outputs), strict=True))

    def zeros(self, rows: int) -> dict[str, torch.Tensor]:
        """What the state of a language model begins with."""
        dtypes = {"tensor(float)": torch.float32, "tensor(bool)": torch.bool}
        state = {name: each for name, each in self.inputs.items() if name != "input_ids"}
        return {name: torch.zeros(rows, *each.shape[1:], dtype=dtypes[each.type]) for name, each in state.items()}


def take_step(
    step: Session, tokens: torch.Tensor, state: dict[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    outputs = step({"input_ids": tokens[:, -1:], **state})
    new = {name.removeprefix("next_"): value for name, value in outputs.items() if name.startswith("next_")}
    return outputs, {**state, **new}


def generate_greedily(
    model: PreTrainedModel, step: Session, tokens: torch.Tensor, state: dict[str, torch.Tensor], max_new_tokens: int
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The tokens, and the attention weights of each step."""
    maps, is_done = [], torch.zeros(len(tokens), dtype=torch.bool)
    for _ in range(max_new_tokens):
        outputs, state = take_step(step, tokens, state)
        logits = outputs["logits"]
        logits[:, model.suppressed_tokens()] = -torch.inf
        new = logits.argmax(-1).masked_fill(is_done, model.config.pad_token_id)
        tokens, is_done = torch.cat([tokens, new[:, None]], 1), is_done | (new == model.config.eos_token_id)
        maps.append(outputs.get("attentions"))
        if is_done.all():
            break
    return tokens, maps


@runs_onnx
@over_files(ENCODER_DECODERS)
def test_tokens_and_maps_of_onnx_runtime(make_example: Callable[[], Example], tmp_path: Path) -> None:
    model, inputs = make_example()
    assert [path.name for path in export_onnx(model, tmp_path, inputs)] == ["encoder.onnx", "decoder_step.onnx"]
    encoder, step = Session(tmp_path / "encoder.onnx"), Session(tmp_path / "decoder_step.onnx")
    for given in (inputs, *of_other_sizes(inputs, fixed_axes(model))):
        state = encoder(given)
        start = torch.full((len(state["hidden"]), 1), model.config.bos_token_id)
        tokens, maps = generate_greedily(model, step, start, state, max_new_tokens=8)
        expected = model.generate(
            **given, max_new_tokens=8, do_sample=False, output_attentions=True, return_dict_in_generate=True
        )
        assert_close(tokens, expected.sequences)
        if model.config.attention_type is not None:
            expected_maps = [weights[0][:, :, 0] for weights in expected.cross_attentions]
            assert_close(maps, expected_maps, rtol=1e-4, atol=1e-5)


@runs_onnx
@over_files(LANGUAGE_MODELS)
def test_tokens_of_a_language_model(make_example: Callable[[], Example], tmp_path: Path) -> None:
    model, inputs = make_example()
    [path] = export_onnx(model, tmp_path)
    assert path == tmp_path / "decoder_step.onnx"
    step = Session(path)
    for given in (inputs, *of_other_sizes(inputs, {"words"})):
        tokens = given["input_ids"]
        state = step.zeros(len(tokens))
        for length in range(1, tokens.shape[1]):
            _, state = take_step(step, tokens[:, :length], state)
        tokens, _ = generate_greedily(model, step, tokens, state, max_new_tokens=8)
        assert_close(tokens, model.generate(**given, max_new_tokens=8, do_sample=False))


@runs_onnx
@over_files(ANSWERING)
@torch.no_grad()
def test_answers_of_onnx_runtime(make_example: Callable[[], Example], tmp_path: Path) -> None:
    model, inputs = make_example()
    [path] = export_onnx(model, tmp_path, inputs)
    assert path == tmp_path / "model.onnx"
    answer = Session(path)
    for given in (inputs, *of_other_sizes(inputs, fixed_axes(model))):
        assert_close(answer(given), Answering(model)(given), rtol=1e-4, atol=1e-5)


@runs_onnx
def test_a_single_example_without_a_mask_is_enough(tmp_path: Path) -> None:
    model, inputs = MODELS["seq2seq"]()
    model.train()
    one = {"input_ids": inputs["input_ids"][:1, :1], "token_type_ids": None}
    export_onnx(model, tmp_path / "new" / "folder", one)
    assert model.training
    encoder = Session(tmp_path / "new" / "folder" / "encoder.onnx")
    assert_close(encoder(inputs), Encoding(model.eval())(inputs), rtol=1e-4, atol=1e-5)


@runs_onnx
def test_what_cannot_be_exported_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = MODELS["ensemble"]()
    with pytest.raises(ValueError, match="no ensemble, got AttentionEnsembleForConditionalGeneration"):
        export_onnx(model, tmp_path, inputs)
    with pytest.raises(ValueError, match="Pass example `inputs`"):
        export_onnx(model.members[0], tmp_path)
    with pytest.raises(ValueError, match="leave out `inputs`"):
        export_onnx(MODELS["recurrent_lm"]()[0], tmp_path, inputs)
    with monkeypatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(ImportError, match=r"need onnxscript: pip install \"hf_attention\[export\]"):
            export_onnx(model.members[0], tmp_path, inputs)
    monkeypatch.delattr(torch.onnx, "ops", raising=False)
    with pytest.raises(ImportError, match=r"PyTorch 2.8 or newer, which is \d"):
        export_onnx(model.members[0], tmp_path, inputs)
    assert not list(tmp_path.iterdir())
