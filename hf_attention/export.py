"""
Models as ONNX files, which run without PyTorch. It needs the extra `export`: `pip install "hf_attention[export]"`.

    export_onnx(model, "onnx", tokenizer(["two dogs play"], return_tensors="pt"))

writes what runs once for an input (`encoder.onnx`), and what runs once for each token (`decoder_step.onnx`).
"""

import contextlib
import importlib.util
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel

from .models.cache import DecoderState, RecurrentCache
from .models.door import WAYS
from .models.memory import ProjectedMemory
from .models.modeling_attention import AttentionConditionalGenerationModel
from .models.modeling_attention_ensemble import AttentionEnsembleForConditionalGeneration
from .models.modeling_attention_vqa import AttentionVQAForQuestionAnswering
from .models.modeling_recurrent_lm import RecurrentLMForCausalLM
from .models.recurrence import read_padded


# What an image, a sentence or a set of regions may have any number of.
SECOND_AXES = {
    "input_ids": "words",
    "attention_mask": "words",
    "region_features": "regions",
    "region_mask": "regions",
    "region_boxes": "regions",
}


def export_onnx(
    model: PreTrainedModel, folder: str | os.PathLike, inputs: Mapping[str, torch.Tensor] | None = None
) -> list[Path]:
    """
    Writes a model as ONNX files.

    `encoder.onnx` takes `inputs`, by their names, and gives

    - `keys`, of shape `(batch, positions, key_size)`, and `values`, of shape `(batch, positions, value_size)`: the
      memory, prepared to be attended to; where there is attention
    - `memory_mask`, of shape `(batch, positions)`, boolean: where attention is allowed; where `inputs` has a mask
    - `hidden`, `cell`, `readout`, `coverage`: the state before the first token, as far as the model has it.

    `decoder_step.onnx` takes `input_ids`, of shape `(batch, 1)`, the token before, and all that `encoder.onnx` gives;
    it gives

    - `logits`, of shape `(batch, vocab_size)`: of the next token
    - `attentions`, of shape `(batch, heads, positions)`: the weights; where there is attention
    - `next_hidden`, `next_cell`, ...: the state for the next step. `hidden` and `cell` are of shape `(batch, layers,
      hidden_size)`, `readout` of shape `(batch, readout_size)`, `coverage` of shape `(batch, positions)`.

    Of a recurrent language model there is `decoder_step.onnx` alone. Its state is zero before the first token. Where
    it attends to its past, `keys`, `values` and `memory_mask` are part of the state: those of the last
    `attention_window` steps.

    Of a model that chooses among known answers there is `model.onnx` alone. It takes `inputs` and gives `logits`, of
    shape `(batch, num_labels)`, and, where there is attention, `attentions`, of shape `(batch, glimpses, regions)`.

    The batch may be of any size, and so may be the number of words and of regions, where the model's own positions do
    not fix it. Images are of the size of those in `inputs`.

    Args:
        model (`PreTrainedModel`):
            A captioner, a sequence-to-sequence model, a question answering model or a recurrent language model.
        folder (`str` or `os.PathLike`):
            Where the files go. It is made.
        inputs (`Mapping[str, torch.Tensor]`, *optional*):
            Example inputs of the encoder, as a tokenizer or processor gives them: their names are those of the inputs.
            Not of a language model.

    Returns:
        `list[Path]`: The files.

    Raises:
        ImportError: Where PyTorch is older than 2.8, or onnxscript is not there.
        ValueError: Where it is another model, as an ensemble, whose members can be exported; or where `inputs` are
            missing, or given to a language model.
    """
    if not hasattr(torch.onnx, "ops"):
        raise ImportError(f"ONNX files need PyTorch 2.8 or newer, which is {torch.__version__}.")
    if importlib.util.find_spec("onnxscript") is None:
        raise ImportError('ONNX files need onnxscript: pip install "hf_attention[export]".')
    classes = (AttentionConditionalGenerationModel, AttentionVQAForQuestionAnswering, RecurrentLMForCausalLM)
    if not isinstance(model, classes) or isinstance(model, AttentionEnsembleForConditionalGeneration):
        raise ValueError(f"`model` must be one of this package's own, and no ensemble, got {type(model).__name__}.")
    is_language_model = isinstance(model, RecurrentLMForCausalLM)
    if (inputs is None) != is_language_model:
        raise ValueError(
            "Of a language model there is nothing to encode: leave out `inputs`."
            if is_language_model
            else "Pass example `inputs` of the encoder: what a tokenizer or processor gives."
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return list(_write_parts(model, folder, inputs))
    finally:
        model.train(was_training)


def _write_parts(model: PreTrainedModel, folder: Path, inputs: Mapping[str, torch.Tensor] | None) -> Iterator[Path]:
    second_axes = dict(SECOND_AXES)
    if inputs is None:
        second_axes = {}  # a window of fixed size
        state = _tensors_of(DecoderStep(model).start(rows=1))
        state = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    else:
        if getattr(model.config, "num_regions", None) is not None:
            second_axes = {name: axis for name, axis in second_axes.items() if axis != "regions"}
        inputs = {name: inputs[name] for name in ("pixel_values", *SECOND_AXES) if inputs.get(name) is not None}
        if "input_ids" in inputs:  # which lengths are read by
            inputs.setdefault("attention_mask", torch.ones_like(inputs["input_ids"]))
        if isinstance(model, AttentionVQAForQuestionAnswering):
            yield _write(Answering(model), folder / "model.onnx", inputs, second_axes)
            return
        encoding = Encoding(model)
        yield _write(encoding, folder / "encoder.onnx", inputs, second_axes)
        state = encoding(inputs)
        second_axes = dict.fromkeys(("keys", "values", "memory_mask", "coverage"), "positions")
    before = torch.zeros(len(state["hidden"]), 1, dtype=torch.long)
    yield _write(DecoderStep(model), folder / "decoder_step.onnx", {"input_ids": before, **state}, second_axes)


def _write(module: nn.Module, path: Path, tensors: Mapping[str, torch.Tensor], second_axes: Mapping[str, str]) -> Path:
    shapes = {}
    for name, tensor in tensors.items():
        shapes[name] = {0: "batch", **({1: second_axes[name]} if name in second_axes else {})}
        for axis in shapes[name]:
            if tensor.shape[axis] == 1:  # would be taken for the only size
                tensors = {**tensors, name: tensors[name].repeat_interleave(2, axis)}
    outputs = module(tensors)
    with _reading_by_onnx():
        torch.onnx.export(
            module,
            (),
            path,
            kwargs={"tensors": dict(tensors)},
            input_names=list(tensors),
            output_names=list(outputs),
            dynamic_shapes={"tensors": shapes},
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    return path


# The modules that are exported: each takes tensors by their names, and gives others.


class Encoding(nn.Module):
    """
    What runs once for an input: the memory, and the state before the first token.

    Args:
        model ([`AttentionConditionalGenerationModel`]): The model.
    """

    def __init__(self, model: AttentionConditionalGenerationModel):
        super().__init__()
        self.encoder, self.decoder = model.get_encoder(), model.model.decoder

    def forward(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        outputs = self.encoder(**tensors)
        memory, mask = outputs.last_hidden_state, outputs.get("memory_mask")
        rows = memory.new_zeros(memory.shape[0], 1, 1)
        state = self.decoder.get_initial_state(rows, memory, mask, outputs.get("initial_states"))
        attention = self.decoder.attention
        return _tensors_of(state, None if attention is None else attention.project(memory, mask))


class DecoderStep(nn.Module):
    """
    What runs once for each token.

    Args:
        model ([`AttentionConditionalGenerationModel`] or [`RecurrentLMForCausalLM`]): The model.
    """

    def __init__(self, model: AttentionConditionalGenerationModel | RecurrentLMForCausalLM):
        super().__init__()
        self.decoder, self.lm_head = model.model.decoder, model.lm_head

    def start(self, rows: int) -> DecoderState:
        """The state before the first token, where there is no encoder."""
        return self.decoder.get_initial_state(self.decoder.embed_tokens.weight.new_zeros(rows, 1, 1), None, None)

    def forward(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        memory = None
        if "keys" in tensors:
            mask = tensors.get("memory_mask")
            if mask is not None:
                mask = mask[:, None, None] if self.decoder.attention.takes_heads else mask[:, None]
            memory = ProjectedMemory(tensors["keys"], tensors["values"], mask)
        state = DecoderState(
            tensors["hidden"].unbind(1),
            tensors["cell"].unbind(1) if "cell" in tensors else (),
            tensors.get("readout"),
            tensors.get("coverage"),
        )
        if self.decoder.attends_to_past:
            state = state._replace(past=self._begun(memory))
        cache = RecurrentCache()
        cache.memory = memory
        cache.update([state], 0)
        outputs = self.decoder(input_ids=tensors["input_ids"], cache=cache, output_attentions=True)
        results = {"logits": self.lm_head(outputs.last_hidden_state)[:, -1]}
        if outputs.cross_attentions:
            results["attentions"] = outputs.cross_attentions[0][:, :, -1]
        return results | {f"next_{name}": tensor for name, tensor in _tensors_of(cache.state).items()}

    def _begun(self, past: ProjectedMemory) -> ProjectedMemory:
        """Where nothing is past yet, the state before the first token is."""
        first = self.start(past.keys.shape[0]).past
        is_first = ~past.mask.flatten(1).any(1)
        keys, values = (
            torch.where(is_first[:, None, None], new, old) for new, old in zip(first[:2], past[:2], strict=True)
        )
        mask = is_first.view(-1, *[1] * (past.mask.ndim - 1)) & first.mask  # ONNX Runtime chooses among no booleans
        return ProjectedMemory(keys, values, past.mask | mask)


class Answering(nn.Module):
    """
    The choice among known answers.

    Args:
        model ([`AttentionVQAForQuestionAnswering`]): The model.
    """

    def __init__(self, model: AttentionVQAForQuestionAnswering):
        super().__init__()
        self.model = model

    def forward(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        outputs = self.model(**tensors, output_attentions=True)
        maps = {"attentions": torch.stack(outputs.attentions, 1)} if outputs.attentions else {}
        return {"logits": outputs.logits, **maps}


def _tensors_of(state: DecoderState, memory: ProjectedMemory | None = None) -> dict[str, torch.Tensor]:
    """State and memory by the names that the files have for them."""
    memory = state.past if memory is None else memory
    mask = None if memory is None else memory.mask
    tensors = {
        "keys": None if memory is None else memory.keys,
        "values": None if memory is None else memory.values,
        "memory_mask": None if mask is None else mask.flatten(1),  # from (batch, 1, positions), or with one more 1
        "hidden": torch.stack(state.hidden, 1),
        "cell": torch.stack(state.cell, 1) if state.cell else None,
        "readout": state.readout,
        "coverage": state.coverage,
    }
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


# PyTorch exports recurrent layers for one length only; ONNX has operators for sequences of any.


@contextlib.contextmanager
def _reading_by_onnx() -> Iterator[None]:
    before = dict(WAYS)
    WAYS[read_padded.__name__] = _read_padded
    try:
        yield
    finally:
        WAYS.clear()
        WAYS.update(before)


def _read_padded(
    rnn: nn.LSTM | nn.GRU, words: torch.Tensor, lengths: torch.Tensor, with_cells: bool
) -> tuple[torch.Tensor, torch.Tensor | tuple[torch.Tensor, ...]]:
    """As [`~hf_attention.models.recurrence.read_padded`], in ONNX."""
    is_lstm, directions = rnn.mode == "LSTM", 2 if rnn.bidirectional else 1
    order = [0, 3, 1, 2] if is_lstm else [1, 0, 2]  # ONNX has the gates in another
    attributes = {"hidden_size": rnn.hidden_size, "direction": "bidirectional" if rnn.bidirectional else "forward"}
    if not is_lstm:
        attributes["linear_before_reset"] = 1
    batch, steps = words.shape[:2]
    state_shape = (directions, batch, rnn.hidden_size)
    finals = []
    for layer in range(rnn.num_layers):
        of_layer = rnn.all_weights[layer * directions : (layer + 1) * directions]
        weight_ih, weight_hh, bias, bias_hh = (
            torch.stack([each.unflatten(0, (len(order), -1))[order].flatten(0, 1) for each in kind])
            for kind in zip(*of_layer, strict=True)
        )
        states, *final = torch.onnx.ops.symbolic_multi_out(
            rnn.mode,
            (words.transpose(0, 1), weight_ih, weight_hh, torch.cat([bias, bias_hh], 1), lengths.int()),
            attributes,
            dtypes=[words.dtype] * (3 if is_lstm else 2),
            shapes=[(steps, directions, batch, rnn.hidden_size), *[state_shape] * (2 if is_lstm else 1)],
        )
        words = states.permute(2, 0, 1, 3).flatten(2)  # zero on padding
        finals.append(final)
    final = tuple(torch.cat(kind) for kind in zip(*finals, strict=True))
    return words, final if is_lstm else final[0]
