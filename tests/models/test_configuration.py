import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from common.configurations import AXES, combinations, core, every_configuration, is_valid, name_of, pairs_of, pairwise
from common.every_model import Example, over_every_model
from common.factories import over_encoder_decoders, over_models
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from hf_attention import AttentionDecoderConfig


DECISIVE = (
    "attention_type",
    "attention_order",
    "input_feeding",
    "num_attention_heads",
    "coverage",
    "context_gate",
    "initial_state",
)


def test_the_selection_covers_every_valid_pair():
    wanted = set().union(*map(pairs_of, every_configuration()))
    assert set().union(*map(pairs_of, pairwise())) == wanted
    # Two values are together in no configuration only where they contradict each other.
    assert (("attention_type", None), ("coverage", True)) not in wanted
    assert (("rnn_type", "gru"), ("coverage", True)) in wanted


def test_the_core_is_complete():
    names = ("rnn_type", "attention_type", "attention_order", "input_feeding", "num_hidden_layers")
    wanted = {tuple(settings[name] for name in names) for settings in every_configuration()}
    assert {tuple(settings[name] for name in names) for settings in core()} == wanted


def test_exactly_the_valid_combinations_are_accepted():
    others = {name: values[0] for name, values in AXES.items() if name not in DECISIVE}
    for settings in combinations(DECISIVE, **others):
        try:
            AttentionDecoderConfig(**settings)
        except ValueError:
            accepted = False
        else:
            accepted = True
        assert accepted == is_valid(settings), name_of(settings)


@over_encoder_decoders
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("rnn_type", {"rnn_type": "rnn"}),
        ("attention_type", {"attention_type": "bilinear"}),
        ("attention_order", {"attention_order": "during_rnn"}),
        ("initial_state", {"initial_state": "ones"}),
        ("readout_activation", {"readout_activation": "relu"}),
        ("vocab_size", {"vocab_size": 0}),
        ("embedding_size", {"embedding_size": 0}),
        ("hidden_size", {"hidden_size": -1}),
        ("num_hidden_layers", {"num_hidden_layers": 0}),
        ("(memory|encoder_hidden)_size", {"memory_size": 0}),
        ("attention_size", {"attention_size": 0}),
        ("num_attention_heads", {"num_attention_heads": 0}),
        ("readout_size", {"readout_size": 0}),
        ("embedding_dropout", {"embedding_dropout": 1.0}),
        ("hidden_dropout", {"hidden_dropout": -0.1}),
        ("readout_dropout", {"readout_dropout": 1.5}),
        ("memory_dropout", {"memory_dropout": 1}),
        ("label_smoothing", {"label_smoothing": 1.0}),
        ("doubly_stochastic_penalty", {"doubly_stochastic_penalty": -1.0}),
        ("doubly_stochastic_penalty", {"attention_type": None, "doubly_stochastic_penalty": 1.0}),
        ("pad_token_id", {"pad_token_id": 13}),
        ("unk_token_id", {"unk_token_id": -1}),
        ("bos_token_id", {"bos_token_id": 99}),
        ("decoder_start_token_id", {"decoder_start_token_id": 13}),
        ("eos_token_id", {"eos_token_id": 13}),
        ("input_feeding", {"input_feeding": True}),
        ("input_feeding", {"input_feeding": True, "attention_order": "after_rnn", "attention_type": None}),
        ("context_gate", {"context_gate": True, "attention_order": "after_rnn"}),
        ("context_gate", {"context_gate": True, "attention_type": None}),
        ("coverage", {"coverage": True, "attention_type": "general"}),
        ("coverage", {"coverage": True, "attention_type": None}),
        ("memory_size", {"attention_type": "dot", "hidden_size": 8, "memory_size": 9}),
        ("num_attention_heads", {"num_attention_heads": 2}),
        ("attention_size", {"attention_type": "scaled_dot", "attention_size": 5, "num_attention_heads": 2}),
        ("initial_state", {"attention_type": None, "initial_state": "zeros"}),
        ("tie_word_embeddings", {"tie_word_embeddings": True, "readout_size": 7}),
    ],
)
def test_what_is_refused_names_the_argument(factory, name, settings):
    small = {"vocab_size": 13, "embedding_size": 6, "hidden_size": 8, "attention_size": 4, "memory_size": 7}
    with pytest.raises(ValueError, match=f"`{name}[`=]"):
        factory.config_class(**factory.adapt({**factory.settings, **small, **settings}))


@over_models
def test_configurations_survive_saving(factory, tmp_path):
    for number, settings in enumerate(pairwise()):
        config = factory.make_config(
            **settings,
            doubly_stochastic_penalty=0.5 if settings["attention_type"] and factory.has_encoder else 0.0,
            label_smoothing=0.1,
            unk_token_id=None,
            eos_token_id=5,
        )
        folder = tmp_path / str(number)
        config.save_pretrained(folder)
        saved = json.loads((folder / "config.json").read_text())
        assert saved["model_type"] == factory.config_class.model_type
        for loaded in (factory.config_class.from_pretrained(folder), AutoConfig.from_pretrained(folder)):
            assert type(loaded) is factory.config_class
            for name in {**settings, "label_smoothing": None, "unk_token_id": None, "eos_token_id": None}:
                assert getattr(loaded, name) == getattr(config, name), name
            assert loaded.readout_size == config.readout_size
            again = {k: v for k, v in loaded.to_dict().items() if k not in ("auto_map", "_name_or_path")}
            assert again == {k: v for k, v in config.to_dict().items() if k not in ("auto_map", "_name_or_path")}


@over_every_model()
def test_a_checkpoint_does_not_say_where_its_parts_lay(make_example: Callable[[], Example], tmp_path: Path):
    model, _ = make_example()
    parts = [model.config, *(getattr(model.config, name) for name in model.config.sub_configs)]
    for each in filter(None, parts):
        each._name_or_path = "/home/me"
    for member in getattr(model.config, "members", None) or ():
        member["_name_or_path"] = "/home/me"
    model.save_pretrained(tmp_path)
    assert "/home/me" not in (tmp_path / "config.json").read_text()


@over_models
def test_models_survive_saving(factory, tmp_path):
    for number, settings in enumerate(pairwise()[:6]):
        model = factory.make_model(**settings)
        folder = tmp_path / str(number)
        model.save_pretrained(folder)
        loaded, info = factory.model_class.from_pretrained(folder, output_loading_info=True)
        assert not any(info.values()), info
        for (name, tensor), (other, expected) in zip(
            loaded.state_dict().items(), model.state_dict().items(), strict=True
        ):
            assert name == other
            assert torch.equal(tensor, expected), name
        assert loaded.suppressed_tokens() == model.suppressed_tokens()


@over_models
def test_only_a_missing_weight_is_new(factory, tmp_path):
    model = factory.make_model()
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    for missing in list(weights)[::3]:
        save_file({name: tensor for name, tensor in weights.items() if name != missing}, file, {"format": "pt"})
        loaded, info = factory.model_class.from_pretrained(tmp_path, output_loading_info=True)
        assert set(info["missing_keys"]) == {missing}
        for name, tensor in loaded.state_dict().items():
            assert tensor.isfinite().all()
            assert name == missing or torch.equal(tensor, model.state_dict()[name]), name


@pytest.mark.parametrize(
    "name", ["pad_token_id", "unk_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"]
)
@over_models
def test_a_special_token_may_be_missing(factory, name, tmp_path) -> None:
    """As Bart, GPT-2 and Mamba have it."""
    model = factory.make_model(**{name: None})
    assert getattr(model.config, name) is None
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    assert getattr(loaded.config, name) is None
    inputs = factory.make_inputs(2)
    assert torch.equal(loaded.generate(**inputs, max_new_tokens=4), model.generate(**inputs, max_new_tokens=4))
    labels = torch.tensor([[5, 6, 3], [7, 3, -100]])
    assert (
        loaded(**inputs, labels=labels) if factory.has_encoder else loaded(**inputs, labels=inputs["input_ids"])
    ).loss
