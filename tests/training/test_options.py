"""Options of the command line that are fields of a configuration, and those that the scripts have."""

import argparse
import re
from typing import Any, ClassVar

import pytest
from common.scripts import load_script
from transformers import HfArgumentParser

from hf_attention import AttentionCaptionerConfig, AttentionSeq2SeqConfig, AttentionVQAConfig, RecurrentLMConfig
from hf_attention.arguments import OptionParser
from hf_attention.models.attention import ATTENTION_CLASSES
from hf_attention.training.options import changed_options, configuration_options, refuse_options
from hf_attention.training.tasks.answering.arguments import AnsweringFieldsArguments
from hf_attention.training.tasks.captioning.arguments import CaptionDecoderArguments
from hf_attention.training.tasks.language_modeling.arguments import LanguageModelArguments
from hf_attention.training.tasks.translating.arguments import Seq2SeqModelArguments


OPTIONS = {
    AttentionCaptionerConfig: CaptionDecoderArguments,
    AttentionVQAConfig: AnsweringFieldsArguments,
    AttentionSeq2SeqConfig: Seq2SeqModelArguments,
    RecurrentLMConfig: LanguageModelArguments,
}
# What each script does when no option is given.
DEFAULTS = {
    "train_captioner": {"learning_rate": 2e-3, "label_smoothing": 0.1, "context_gate": None, "memory_size": 512},
    "train_vqa": {
        "attention_form": "bilinear",
        "problem_type": "single_label_classification",
        "joint_dropout": 0.0,
        "learning_rate": 3e-4,
    },
    "train_seq2seq": {"attention_size": 256, "hidden_dropout": 0.3, "memory_dropout": 0.0, "tokenizer_type": "bpe"},
    "train_lm": {"attention_type": "none", "hidden_size": 650, "readout_activation": "none", "weight_decay": 0.0},
}


def parser_of(script: str, monkeypatch: pytest.MonkeyPatch) -> argparse.ArgumentParser:
    """The parser that a script makes."""
    made = []

    def parse(self: OptionParser, argv: None) -> None:
        made.append(self)
        raise SystemExit

    monkeypatch.setattr(OptionParser, "read", parse)
    with pytest.raises(SystemExit):
        load_script(script).main("What it does.")
    return made[0]


@pytest.mark.parametrize("script", DEFAULTS)
def test_defaults_of_the_scripts(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parser = parser_of(script, monkeypatch)
    values = vars(argparse.ArgumentParser.parse_args(parser, ["--output_dir=run", "--dataset_name=data"]))
    assert DEFAULTS[script].items() <= values.items()
    explained = " ".join(parser.format_help().split())
    assert "What it does." in explained and "Size of the space in which" in explained


@pytest.mark.parametrize("config_class", OPTIONS, ids=lambda config_class: config_class.model_type)
def test_every_choice_of_the_configuration_is_one_of_the_option(config_class: type) -> None:
    parser = HfArgumentParser(OPTIONS[config_class])
    actions = {action.dest: action for action in parser._actions}
    assert set(config_class.command_line_options) <= actions.keys()
    for name in config_class.command_line_options:
        assert actions[name].help, name
        if name in config_class.choices:
            # Attention types of somebody's own, as other tests declare them, may come later than the options.
            others = {name for name, each in ATTENTION_CLASSES.items() if "hf_attention." not in each.__module__}
            choices = {choice or "none" for choice in config_class.choices[name]}
            assert set(actions[name].choices) - others == choices - others


@pytest.mark.parametrize("config_class", OPTIONS, ids=lambda config_class: config_class.model_type)
def test_the_recipe_makes_a_configuration(config_class: type) -> None:
    settings = OPTIONS[config_class]().config_kwargs()
    settings = {name: value for name, value in settings.items() if name != "share_encoder_decoder_embeddings"}
    config = config_class(**settings)
    left_open = {"readout_size", "num_glimpses", "joint_size", "encoder_embedding_size", "encoder_rnn_type"}
    for name in settings.keys() - left_open:
        assert getattr(config, name) == settings[name], name


class SmallConfig(AttentionCaptionerConfig):
    """
    A configuration of a user's own.

    Args:
        angle (`float`, *optional*, defaults to 0.5):
            How far it turns: at most
            100 % of the way.
        side (`str`, *optional*):
            One of two, or `None`.
        width (`int`, *optional*):
            How wide.
    """

    model_type = "small_test"
    command_line_options: ClassVar[tuple[str, ...]] = ("angle", "side", "width", "context_gate", "attention_type")
    choices: ClassVar[dict[str, tuple]] = {**AttentionCaptionerConfig.choices, "side": ("left", "right", None)}

    angle: float | int = 0.5
    side: str | None = None
    width: int | None = None


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", {"angle": 0.5, "side": None, "width": 3, "context_gate": False, "attention_type": "additive"}),
        ("--angle 1 --side left --width 7", {"angle": 1.0, "side": "left", "width": 7}),
        ("--attention_type none --context_gate", {"attention_type": None, "context_gate": True}),
    ],
)
def test_options_of_a_new_configuration(words: str, expected: dict[str, Any]) -> None:
    options = configuration_options("SmallOptions", SmallConfig, {"width": 3}, {"width": "In cells."})
    [values] = HfArgumentParser(options).parse_args_into_dataclasses(words.split())
    assert expected.items() <= values.config_kwargs().items()
    with_help = re.sub(r"\s+", " ", HfArgumentParser(options).format_help())
    assert "at most 100 % of the way. (default: 0.5)" in with_help and "How wide. In cells. (default: 3)" in with_help


def test_a_gate_is_where_the_attention_allows_it() -> None:
    for given, expected in (
        ({}, True),
        ({"attention_type": "none"}, False),
        ({"attention_order": "after_rnn"}, False),
        ({"context_gate": False}, False),
    ):
        assert CaptionDecoderArguments(**given).config_kwargs()["context_gate"] is expected


def test_what_is_ready_made_takes_no_options() -> None:
    arguments = CaptionDecoderArguments(hidden_size=64, rnn_type="gru")
    assert changed_options(arguments) == {"hidden_size", "rnn_type"}
    assert changed_options(arguments, {"rnn_type": "gru"}) == {"hidden_size"}
    with pytest.raises(ValueError, match="Leave out `a`, `b`: with `name`"):
        refuse_options("name", {"b", "a"})
    refuse_options("name", set())
