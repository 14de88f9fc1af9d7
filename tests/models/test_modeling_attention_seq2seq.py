"""The sequence-to-sequence model against the papers' equations, and as a model of transformers."""

import inspect
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from common.factories import make_sentences, make_tokens, take
from common.reference import gru_step, lstm_step, read_sentence, softmax
from common.remote_code import run_without_the_package
from common.tiny_captioner import PAD, START, UNKNOWN, WORDS, make_tokenizer
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from torch.testing import assert_close
from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM, AutoTokenizer, PreTrainedModel, pipeline
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils import logging as transformers_logging

import hf_attention
from hf_attention import (
    AttentionSeq2SeqConfig,
    AttentionSeq2SeqForConditionalGeneration,
    AttentionSeq2SeqModel,
    AttentionSeq2SeqTokenizer,
)


EXACT = {"rtol": 1e-9, "atol": 1e-11}
SIZES = {
    "vocab_size": 13,
    "embedding_size": 6,
    "hidden_size": 8,
    "attention_size": 5,
    "encoder_hidden_size": 4,
}
BAHDANAU = {
    **SIZES,
    "source_vocab_size": 14,
    "encoder_embedding_size": 5,
    "readout_size": 3,
}
LUONG = {
    **SIZES,
    "source_vocab_size": 14,
    "num_hidden_layers": 2,
    "encoder_num_hidden_layers": 2,
    "encoder_hidden_size": 8,
}
# Which vocabularies and tables of embeddings there are.
VOCABULARIES = {
    "one table": {"share_encoder_decoder_embeddings": True},
    "one vocabulary": {},
    "two vocabularies": {"source_vocab_size": 15, "encoder_embedding_size": 5},
}
over_vocabularies = pytest.mark.parametrize("vocabularies", VOCABULARIES.values(), ids=VOCABULARIES)
over_tying = pytest.mark.parametrize("tied", [False, True], ids=["", "tied"])

TABLES = {"model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight"}


def make_model(
    config: AttentionSeq2SeqConfig | None = None,
    model_class: type[PreTrainedModel] = AttentionSeq2SeqForConditionalGeneration,
    **settings,
) -> PreTrainedModel:
    """Its weights are none that any initialisation would give."""
    if config is None:
        config = AttentionSeq2SeqConfig(**{"unk_token_id": UNKNOWN, "bos_token_id": START} | SIZES | settings)
    model = model_class(config).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(1.5 * (2 * torch.rand(parameter.shape, generator=generator) - 1))
    return model


def assert_same(model: PreTrainedModel, expected: PreTrainedModel, but: tuple[str, ...] = ()) -> None:
    tensors, expected_tensors = model.state_dict(), expected.state_dict()
    assert tensors.keys() == expected_tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, expected_tensors[name]) == (name not in but), name


def assert_tied(model: AttentionSeq2SeqForConditionalGeneration, shared: bool, tied: bool) -> None:
    source, target = model.model.encoder.embed_tokens, model.model.decoder.embed_tokens
    assert (source.weight is target.weight) == shared
    assert (model.lm_head.weight is target.weight) == tied
    for table in (source, target):
        assert table.weight.shape == (table.num_embeddings, table.embedding_dim)
        assert table.padding_idx is None  # the padding's number may change


@pytest.fixture
def warnings_of_transformers(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    transformers_logging.enable_propagation()
    with caplog.at_level(logging.WARNING, "transformers"):
        yield caplog
    transformers_logging.disable_propagation()


class Equations:
    """One sentence through a model's weights, token by token."""

    def __init__(self, model: AttentionSeq2SeqForConditionalGeneration):
        self.config, self.weights = model.config, dict(model.named_parameters())
        self.encoder = dict(model.model.encoder.named_parameters())
        self.decoder = dict(model.model.decoder.named_parameters())

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.weights[name]

    def read(self, source: list[int]) -> tuple:
        embeddings = [self.encoder["embed_tokens.weight"][token] for token in source]
        config = self.config
        return read_sentence(
            self.encoder,
            embeddings,
            config.encoder_num_hidden_layers,
            config.encoder_bidirectional,
            config.rnn_type == "lstm",
        )


def bahdanau(weights: Equations, source: list[int], target: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    memory, finals = weights.read(source)
    (_, (backward,)) = finals[0]  # the state of the backward direction at the first word
    state = torch.tanh(weights["model.encoder.bridge.weight"] @ backward + weights["model.encoder.bridge.bias"])
    attention = "model.decoder.attention."
    query, key, score = (weights[f"{attention}{name}_proj.weight"] for name in ("query", "key", "score"))
    all_logits, maps = [], []
    for token in target:
        word = weights["model.decoder.embed_tokens.weight"][token]
        scores = [
            score[0] @ torch.tanh(query @ state + key @ m + weights[f"{attention}key_proj.bias"]) for m in memory
        ]
        alpha = softmax(torch.stack(scores))
        context = alpha @ memory
        state = gru_step(weights.decoder, "l0", torch.cat([word, context]), state)
        t = weights["model.decoder.readout.weight"] @ torch.cat([state, context, word])
        t = t + weights["model.decoder.readout.bias"]
        maxout = torch.maximum(t[0::2], t[1::2])
        all_logits.append(weights["lm_head.weight"] @ maxout + weights["lm_head.bias"])
        maps.append(alpha)
    return torch.stack(all_logits), torch.stack(maps)


def luong(weights: Equations, source: list[int], target: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    memory, finals = weights.read(source)
    states = [layer[0] for layer in finals]
    attentional = torch.zeros(weights.config.hidden_size, dtype=memory.dtype)
    all_logits, maps = [], []
    for token in target:
        x = torch.cat([weights["model.decoder.embed_tokens.weight"][token], attentional])
        for layer, state in enumerate(states):
            states[layer] = lstm_step(weights.decoder, f"l{layer}", x, *state)
            x = states[layer][0]
        alpha = softmax(memory @ (weights["model.decoder.attention.key_proj.weight"].T @ x))
        both = torch.cat([x, alpha @ memory])
        attentional = torch.tanh(
            weights["model.decoder.readout.weight"] @ both + weights["model.decoder.readout.bias"]
        )
        all_logits.append(weights["lm_head.weight"] @ attentional + weights["lm_head.bias"])
        maps.append(alpha)
    return torch.stack(all_logits), torch.stack(maps)


@pytest.mark.parametrize(
    ("config", "equations"),
    [(AttentionSeq2SeqConfig.bahdanau(**BAHDANAU), bahdanau), (AttentionSeq2SeqConfig.luong(**LUONG), luong)],
    ids=["bahdanau", "luong"],
)
def test_the_papers_equations(config, equations):
    model, inputs = make_model(config).double(), make_sentences(3)
    tokens = make_tokens(rows=3, length=5)
    outputs = model(**inputs, decoder_input_ids=tokens, output_attentions=True)
    weights = Equations(model)
    for row, mask in enumerate(inputs["attention_mask"].bool()):
        logits, maps = equations(weights, inputs["input_ids"][row, mask].tolist(), tokens[row].tolist())
        assert_close(outputs.logits[row], logits, **EXACT)
        assert_close(outputs.cross_attentions[0][row, 0][:, mask], maps, **EXACT)
        assert not outputs.cross_attentions[0][row, 0][:, ~mask].any()


def test_the_papers_sizes():
    config = AttentionSeq2SeqConfig.bahdanau()
    assert (config.vocab_size, config.embedding_size, config.hidden_size, config.memory_size) == (
        30000,
        620,
        1000,
        2000,
    )
    config = AttentionSeq2SeqConfig.luong()
    assert (config.num_hidden_layers, config.encoder_num_hidden_layers, config.memory_size) == (4, 4, 1000)
    assert config.readout_size == config.hidden_size == 1000


@pytest.mark.parametrize(
    "config",
    [
        AttentionSeq2SeqConfig.bahdanau(**BAHDANAU),
        AttentionSeq2SeqConfig.luong(**LUONG),
        AttentionSeq2SeqConfig(**SIZES, rnn_type="gru", initial_state="final_states", attention_order="after_rnn"),
        AttentionSeq2SeqConfig(**SIZES, initial_state="copied_states", coverage=True),
        AttentionSeq2SeqConfig(**SIZES, initial_state="final_states", attention_type=None, num_hidden_layers=2),
    ],
    ids=["bahdanau", "luong", "fused", "coverage", "without attention"],
)
def test_a_padded_batch_equals_its_rows(config):
    """Logits, attention weights, the loss and its gradients, over every initial state."""
    config.hidden_dropout = 0.0
    model, inputs = make_model(config).double(), make_sentences(4)
    labels = make_tokens(rows=4, length=5)[:, 1:]
    for row in range(4):
        labels[row, 4 - row % 3 :] = -100

    def both_modes(inputs: dict, labels: torch.Tensor) -> tuple:
        with torch.no_grad():
            outputs = model.eval()(**inputs, labels=labels, output_attentions=True)
        loss = model.train()(**inputs, labels=labels).loss
        return outputs, loss, torch.autograd.grad(loss, list(model.parameters()))

    together, loss, gradients = both_modes(inputs, labels)
    expected_loss, expected_gradients = 0, [torch.zeros_like(gradient) for gradient in gradients]
    for row in range(4):
        mask, words = inputs["attention_mask"][row].bool(), labels[row] != -100
        row_labels = labels[row : row + 1, words]
        alone, row_loss, row_gradients = both_modes(
            {"input_ids": inputs["input_ids"][row : row + 1, mask]}, row_labels
        )
        assert_close(together.logits[row, words], alone.logits[0], **EXACT)
        if config.attention_type is not None:
            assert_close(together.cross_attentions[0][row][:, words][..., mask], alone.cross_attentions[0][0], **EXACT)
        cross_entropy = F.cross_entropy(alone.logits[0], row_labels[0])
        for each in (row_loss.detach(), alone.loss):
            # In evaluation the loss is computed in float32.
            assert_close(each, cross_entropy, rtol=1e-6, atol=0, check_dtype=False)
        share = words.sum().item() / (labels != -100).sum().item()
        expected_loss = expected_loss + share * row_loss
        expected_gradients = [
            one + share * other for one, other in zip(expected_gradients, row_gradients, strict=True)
        ]
    assert_close(loss, expected_loss, **EXACT)
    assert_close(together.loss, loss.detach(), rtol=1e-6, atol=0, check_dtype=False)
    for (name, _), gradient, expected in zip(model.named_parameters(), gradients, expected_gradients, strict=True):
        assert_close(gradient, expected, **EXACT, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("initial_state", ["final_states", "final_backward_state", "copied_states"])
@torch.no_grad()
def test_beams_start_from_their_own_sentence(initial_state):
    model, inputs = make_model(initial_state=initial_state), make_sentences(3)
    arguments = {"num_beams": 3, "num_return_sequences": 2, "max_new_tokens": 6, "min_new_tokens": 6}
    together = model.generate(**inputs, **arguments)
    for row in range(3):
        assert together[2 * row : 2 * row + 2].equal(model.generate(**take(inputs, row), **arguments))
    from_memory = model.generate(encoder_outputs=model.get_encoder()(**inputs), **arguments)
    assert from_memory.equal(together)


@torch.no_grad()
def test_memory_in_place_of_the_source():
    tokens = make_tokens(rows=3, length=4)
    for settings in ({}, {"initial_state": "zeros"}):
        model, inputs = make_model(**settings), make_sentences(3)
        for given in (inputs, {"input_ids": inputs["input_ids"]}):
            expected = model(**given, decoder_input_ids=tokens).logits
            for return_dict in (True, False):
                memory = model.get_encoder()(**given, return_dict=return_dict)
                assert_close(model(encoder_outputs=memory, decoder_input_ids=tokens).logits, expected)
            embeddings = model.model.encoder.embed_tokens(inputs["input_ids"])
            by_embeddings = {**given, "input_ids": None, "inputs_embeds": embeddings}
            assert_close(model(**by_embeddings, decoder_input_ids=tokens).logits, expected)
    # Of another encoder comes no mask: the source's holds.
    expected = model(**inputs, decoder_input_ids=tokens).logits
    other = BaseModelOutput(last_hidden_state=model.get_encoder()(**inputs).last_hidden_state)
    mask = inputs["attention_mask"]
    assert_close(model(attention_mask=mask, encoder_outputs=other, decoder_input_ids=tokens).logits, expected)
    assert not torch.allclose(model(encoder_outputs=other, decoder_input_ids=tokens).logits, expected)
    with pytest.raises(ValueError, match="initial_state='final_states'.*encoder_outputs"):
        make_model()(attention_mask=mask, encoder_outputs=other, decoder_input_ids=tokens)


@over_vocabularies
@over_tying
@pytest.mark.parametrize("model_class", [AttentionSeq2SeqForConditionalGeneration, AttentionSeq2SeqModel])
def test_weights_survive(vocabularies, tied, model_class, tmp_path, warnings_of_transformers):
    model = make_model(model_class=model_class, tie_word_embeddings=tied, **vocabularies)
    model.save_pretrained(tmp_path)
    loaded, info = model_class.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    assert not warnings_of_transformers.records
    assert_same(loaded, model)
    shared = "share_encoder_decoder_embeddings" in vocabularies
    if model_class is AttentionSeq2SeqForConditionalGeneration:
        assert_tied(loaded, shared, tied)
        base = AttentionSeq2SeqModel.from_pretrained(tmp_path)
        assert_same(base, model.model)
        assert (base.encoder.embed_tokens.weight is base.decoder.embed_tokens.weight) == shared
    else:
        assert (loaded.encoder.embed_tokens.weight is loaded.decoder.embed_tokens.weight) == shared
    # Tied tables are in the file once.
    in_file = {
        name if name.startswith("lm_head") else f"model.{name.removeprefix('model.')}"
        for name in load_file(tmp_path / "model.safetensors")
    }
    tables = 1 + (not shared) + (not tied and model_class is AttentionSeq2SeqForConditionalGeneration)
    assert len(TABLES & in_file) == tables


@over_vocabularies
@over_tying
def test_only_a_missing_weight_is_new(vocabularies, tied, tmp_path, warnings_of_transformers):
    model = make_model(tie_word_embeddings=tied, **vocabularies)
    model.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    tied_to_it = {
        name
        for name, tensor in model.state_dict().items()
        if tensor.data_ptr() == model.get_decoder().embed_tokens.weight.data_ptr()
    }
    for missing in weights:
        save_file({name: tensor for name, tensor in weights.items() if name != missing}, path, {"format": "pt"})
        warnings_of_transformers.clear()
        loaded, info = type(model).from_pretrained(tmp_path, output_loading_info=True)
        names = tied_to_it if missing in tied_to_it else {missing}
        assert info["missing_keys"] and set(info["missing_keys"]) <= names
        assert any(name in warnings_of_transformers.text for name in names)
        assert_same(loaded, model, but=tuple(names))
        assert_tied(loaded, "share_encoder_decoder_embeddings" in vocabularies, tied)
        assert all(loaded.state_dict()[name].isfinite().all() for name in names)


@over_vocabularies
@over_tying
@pytest.mark.parametrize("more", [3, -2])
@pytest.mark.parametrize("model_class", [AttentionSeq2SeqForConditionalGeneration, AttentionSeq2SeqModel])
def test_resize_token_embeddings(vocabularies, tied, more, model_class, tmp_path):
    model = make_model(model_class=model_class, tie_word_embeddings=tied, **vocabularies)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    size = model.config.vocab_size + more
    source = vocabularies.get("source_vocab_size")
    encoder, decoder = model.get_encoder(), model.get_decoder()
    resized = model.resize_token_embeddings(size)
    assert resized is (decoder.embed_tokens if source else model.get_input_embeddings())
    assert (model.config.vocab_size, model.config.source_vocab_size) == (size, source)
    assert decoder.embed_tokens.num_embeddings == decoder.embed_tokens.weight.shape[0] == size
    assert model.get_input_embeddings() is encoder.embed_tokens
    assert encoder.embed_tokens.num_embeddings == encoder.embed_tokens.weight.shape[0] == source or size
    for name, tensor in model.state_dict().items():
        kept = min(len(tensor), len(before[name]))
        assert torch.equal(tensor[:kept], before[name][:kept]), name
    if model_class is AttentionSeq2SeqForConditionalGeneration:
        assert_tied(model, "share_encoder_decoder_embeddings" in vocabularies, tied)
        assert model.lm_head.bias.shape == (size,)
        last = torch.tensor([[(source or size) - 1]])
        assert model(input_ids=last, decoder_input_ids=torch.tensor([[START, size - 1]])).logits.shape == (1, 2, size)
    model.save_pretrained(tmp_path)
    assert_same(model_class.from_pretrained(tmp_path), model)


@over_tying
@pytest.mark.parametrize("more", [3, -2])
def test_resize_source_token_embeddings(tied, more, tmp_path):
    model = make_model(tie_word_embeddings=tied, **VOCABULARIES["two vocabularies"])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    table = model.resize_source_token_embeddings(15 + more)
    assert table is model.model.encoder.embed_tokens
    assert (model.config.vocab_size, model.config.source_vocab_size) == (13, 15 + more)
    for name, tensor in model.state_dict().items():
        if name == "model.encoder.embed_tokens.weight":
            kept = min(15, 15 + more)
            assert tensor.shape == (15 + more, 5) and torch.equal(tensor[:kept], before[name][:kept])
        else:
            assert torch.equal(tensor, before[name]), name
    assert_tied(model, False, tied)
    model.save_pretrained(tmp_path)
    assert_same(type(model).from_pretrained(tmp_path), model)


@pytest.mark.parametrize("vocabularies", ["one table", "one vocabulary"])
def test_one_vocabulary_has_no_source_of_its_own(vocabularies):
    with pytest.raises(ValueError, match="`resize_token_embeddings`"):
        make_model(**VOCABULARIES[vocabularies]).resize_source_token_embeddings(20)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("encoder_rnn_type", {"encoder_rnn_type": "rnn"}),
        ("encoder_embedding_size", {"encoder_embedding_size": 0}),
        ("encoder_hidden_size", {"encoder_hidden_size": 0}),
        ("encoder_num_hidden_layers", {"encoder_num_hidden_layers": -1}),
        ("memory_size", {"memory_size": 7}),
        ("initial_state", {"initial_state": "last_state"}),
        ("initial_state", {"initial_state": "final_backward_state", "encoder_bidirectional": False}),
        ("initial_state", {"initial_state": "copied_states", "encoder_rnn_type": "gru"}),
        ("initial_state", {"initial_state": "copied_states", "num_hidden_layers": 2}),
        ("initial_state", {"initial_state": "copied_states", "encoder_hidden_size": 8}),
        ("share_encoder_decoder_embeddings", {"share_encoder_decoder_embeddings": True, "source_vocab_size": 13}),
        ("share_encoder_decoder_embeddings", {"share_encoder_decoder_embeddings": True, "encoder_embedding_size": 5}),
        ("source_vocab_size", {"source_vocab_size": 0}),
        ("source_vocab_size", {"source_vocab_size": 4, "pad_token_id": 4}),
        ("memory_size", {"attention_type": "dot", "encoder_hidden_size": 8}),
    ],
)
def test_configurations_that_are_refused(name, settings):
    with pytest.raises(ValueError, match=f"`{name}[`=]"):
        AttentionSeq2SeqConfig(**SIZES | settings)


def test_what_follows_from_other_fields():
    config = AttentionSeq2SeqConfig(**SIZES, rnn_type="gru")
    assert (config.encoder_embedding_size, config.encoder_rnn_type, config.memory_size) == (6, "gru", 8)
    assert AttentionSeq2SeqConfig(**SIZES, encoder_bidirectional=False).memory_size == 4
    assert AttentionSeq2SeqConfig(**SIZES, memory_size=8).memory_size == 8
    assert AttentionSeq2SeqConfig(**SIZES, encoder_skip_connection=True).memory_size == 8 + 6
    assert AttentionSeq2SeqConfig(**SIZES, encoder_skip_connection=True, encoder_embedding_size=5).memory_size == 8 + 5
    # Without attention the source is seen through the first state.
    assert AttentionSeq2SeqConfig(**SIZES, attention_type=None).initial_state == "final_states"


def test_auto_classes(tmp_path):
    model = make_model()
    model.save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert type(config) is AttentionSeq2SeqConfig
    assert not hasattr(config, "custom_pipelines")
    assert_same(AutoModel.from_pretrained(tmp_path), model.model)
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    assert type(loaded) is AttentionSeq2SeqForConditionalGeneration
    assert_same(loaded, model)
    assert loaded.generation_config.max_length == 128
    assert loaded.suppressed_tokens() == [PAD, UNKNOWN]


def test_half_precision_survives(tmp_path):
    model, inputs = make_model().bfloat16(), make_sentences(3)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    assert loaded.dtype == torch.bfloat16
    assert_same(loaded, model)
    assert loaded.generate(**inputs, max_new_tokens=6).equal(model.generate(**inputs, max_new_tokens=6))


def answer(folder: str, **trust) -> tuple[dict[str, torch.Tensor], dict[str, list[dict]]]:
    """Everything that is compared: tensors, and the records of pipelines. It also runs without the package."""
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, **trust)
    tokenizer = AutoTokenizer.from_pretrained(folder, **trust)
    texts = ["a red square", "circle left of a large blue star"]
    inputs = tokenizer(texts, text_target=["blue", "star left"], padding=True, return_tensors="pt")
    tensors = dict(inputs)
    with torch.no_grad():
        outputs = model(**inputs, output_attentions=True)
        tensors["logits"], tensors["loss"] = outputs.logits, outputs.loss
        tensors["cross_attentions"] = outputs.cross_attentions[0]
        labels = inputs.pop("labels")
        hidden = AutoModel.from_pretrained(folder, **trust)(**inputs, decoder_input_ids=labels.clamp(min=0))
    tensors["hidden"] = hidden.last_hidden_state
    tensors["greedy"] = model.generate(**inputs, max_new_tokens=6)
    tensors["beam"] = model.generate(**inputs, num_beams=3, max_new_tokens=6)
    records = {
        task: pipeline(task, folder, device="cpu", **trust)(texts, max_new_tokens=6)
        for task in (
            "translation_en_to_de",
            "translation_xx_to_yy",
            "translation",
            "summarization",
            "text2text-generation",
        )
    }
    return {name: tensor.contiguous() for name, tensor in tensors.items()}, records


WITHOUT_THE_PACKAGE = """
import json
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM, AutoTokenizer, pipeline

ANSWER
folder, out = sys.argv[1:]
tensors, records = answer(folder, trust_remote_code=True)
save_file(tensors, out + "/tensors.safetensors")
with open(out + "/records.json", "w") as file:
    json.dump(records, file)

model = AutoModelForSeq2SeqLM.from_pretrained(folder, trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
for thing in (model, model.config):
    assert type(thing).__module__.startswith("transformers_modules."), type(thing)
model.save_pretrained(out + "/again")
tokenizer.save_pretrained(out + "/again")
"""


def test_the_same_answers_without_the_package(tmp_path):
    """Then saved from there, and again with the package."""
    folder = tmp_path / "saved"
    tokenizer = AttentionSeq2SeqTokenizer.from_tokenizers(make_tokenizer(WORDS), make_tokenizer(WORDS[:-3]))
    settings = {"vocab_size": len(tokenizer.target_tokenizer), "source_vocab_size": len(tokenizer)}
    model = make_model(AttentionSeq2SeqConfig.bahdanau(**BAHDANAU | settings))
    model.config.task_specific_params = {"translation_en_to_de": {}}
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    expected_tensors, expected_records = answer(str(folder))
    assert expected_records["translation"][0]["translation_text"]

    out = tmp_path / "out"
    source = WITHOUT_THE_PACKAGE.replace("ANSWER", inspect.getsource(answer))
    run_without_the_package(source, out, folder, out)
    again = out / "again"
    for tensors, records in (
        (load_file(out / "tensors.safetensors"), json.loads((out / "records.json").read_text())),
        answer(str(again)),
    ):
        assert tensors.keys() == expected_tensors.keys()
        for name, tensor in tensors.items():
            assert_close(tensor, expected_tensors[name], msg=lambda m, name=name: f"{name}: {m}")
        assert records == expected_records
    assert {path.name for path in again.iterdir()} == {path.name for path in folder.iterdir()}
    assert type(AutoModelForSeq2SeqLM.from_pretrained(again)) is AttentionSeq2SeqForConditionalGeneration


def test_the_code_in_the_folder_is_complete(tmp_path):
    make_model().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    named = [*config["auto_map"].values(), *(task["impl"] for task in config["custom_pipelines"].values())]
    modules = {path.stem for path in tmp_path.glob("*.py")}
    assert {name.split(".")[0] for name in named} <= modules
    for path in tmp_path.glob("*.py"):
        assert set(re.findall(r"^\s*from \.(\w*) import", path.read_text(), re.MULTILINE)) <= modules
        assert path.read_text().startswith((Path(hf_attention.models.__file__).parent / path.name).read_text())
