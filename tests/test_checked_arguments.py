"""Every class of options of the command line: its numbers have ranges, and are held to them as they are read."""

import dataclasses
import importlib
import math
import pkgutil
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import numpy as np
import pytest
from common.ranges import NUMBERS, is_number, outside
from common.scripts import run_script
from transformers import HfArgumentParser

import hf_attention
from hf_attention.arguments import CheckedArguments, WritableFile
from hf_attention.models.ranges import Range, check_fields, notes_of_fields
from hf_attention.training.loop.arguments import LoopArguments
from hf_attention.training.options import ConfigurationOptions
from hf_attention.training.publish.arguments import HubArguments
from hf_attention.training.tasks.answering.arguments import AnsweringFieldsArguments, QuestionDataArguments
from hf_attention.training.tasks.captioning.arguments import CaptionDecoderArguments
from hf_attention.training.tasks.language_modeling.arguments import LanguageModelArguments
from hf_attention.training.tasks.scoring_arguments import AnswersArguments
from hf_attention.training.tasks.translating.arguments import Seq2SeqModelArguments


def argument_classes() -> list[type]:
    """Those of all modules of the package."""
    found = {AnsweringFieldsArguments, CaptionDecoderArguments, LanguageModelArguments, Seq2SeqModelArguments}
    for module in pkgutil.walk_packages(hf_attention.__path__, "hf_attention."):
        if ".models" not in module.name:
            found |= {
                each
                for each in vars(importlib.import_module(module.name)).values()
                if isinstance(each, type) and dataclasses.is_dataclass(each) and each.__name__.endswith("Arguments")
            }
    return sorted(found - {CheckedArguments, ConfigurationOptions}, key=lambda each: (each.__module__, each.__name__))


CLASSES = argument_classes()
# What the classes cannot do without.
NEEDED = {"output_dir": "x", "dataset_name": "x", "model": "x", "backbone": "x", "page": "x"}


def make(arguments: type, **values: Any) -> Any:
    kinds = {name: kind for name, (kind, _) in notes_of_fields(arguments).items()}
    needed = {name: [value] if kinds[name] == list[str] else value for name, value in NEEDED.items() if name in kinds}
    return arguments(**{**needed, **values})


def ranges_of(arguments: type) -> dict[str, Range | None]:
    """The range of each field that holds a number."""
    return {
        name: next((note for note in notes if isinstance(note, Range)), None)
        for name, (kind, notes) in notes_of_fields(arguments).items()
        if is_number(kind)
    }


RANGES = [(each, name, allowed) for each in CLASSES for name, allowed in ranges_of(each).items()]


def test_all_classes_are_found() -> None:
    assert {"LoopArguments", "HubArguments", "PerplexityArguments", "EvaluationArguments", "PictureArguments"} <= {
        each.__name__ for each in CLASSES
    }
    assert len(RANGES) > 100


@pytest.mark.parametrize("arguments", CLASSES, ids=lambda each: each.__name__)
def test_numbers_are_checked_as_they_are_read(arguments: type) -> None:
    assert issubclass(arguments, CheckedArguments)
    make(arguments)
    for name, allowed in ranges_of(arguments).items():
        assert allowed is not None, f"{name} has no range"
        assert outside(allowed), name
        for value in outside(allowed):
            with pytest.raises(ValueError, match=f"`{name}` must"):
                make(arguments, **{name: value})


def test_what_is_accepted_lies_in_the_range() -> None:
    for arguments, name, allowed in RANGES:
        values = make(arguments)
        for value in NUMBERS:
            setattr(values, name, value)
            try:
                check_fields(values)
            except ValueError as error:
                assert value not in allowed and f"`{name}` must" in str(error)
            else:
                assert value in allowed


@pytest.mark.parametrize("arguments", CLASSES, ids=lambda each: each.__name__)
def test_the_command_line_says_the_same(arguments: type) -> None:
    """The parser of transformers takes the types, and what it reads is checked."""
    parser = HfArgumentParser(arguments)
    names = {action.dest for action in parser._actions}
    needed = [word for name, value in NEEDED.items() if name in names for word in (f"--{name}", value)]
    [parsed] = parser.parse_args_into_dataclasses(needed)
    for name, allowed in ranges_of(arguments).items():
        assert getattr(parsed, name) is None or getattr(parsed, name) in allowed
        if float in (notes_of_fields(arguments)[name][0],):
            with pytest.raises(ValueError, match=f"`{name}` must be a finite number, got nan|`{name}` must .*got nan"):
                parser.parse_args_into_dataclasses([*needed, f"--{name}", "nan"])


@dataclasses.dataclass
class Choosing(CheckedArguments):
    side: Literal["left", "right"] = "left"
    precision: Literal["no", "bf16"] | None = None
    file: Annotated[str | None, WritableFile()] = None


def test_choices() -> None:
    Choosing(side="right", precision="bf16")
    with pytest.raises(ValueError, match="`side` must be one of left, right, got 'up'"):
        Choosing(side="up")
    with pytest.raises(ValueError, match="`precision` must be one of no, bf16, None, got 'fp8'"):
        Choosing(precision="fp8")


def test_values_of_another_type(tmp_path: Path) -> None:
    """As a JSON file or a caller may give them: a word in quotes would count as true, half an epoch die later."""
    for arguments in CLASSES:
        values = {entry.name: getattr(make(arguments), entry.name) for entry in dataclasses.fields(arguments)}
        for name, (kind, _) in notes_of_fields(arguments).items():
            whole = int in (kind, *get_args(kind))
            wrong = [{}, "no", 1.5 if whole else object(), True if is_number(kind) else 3]
            if kind is not bool and (not is_number(kind) or get_origin(kind) is Literal):
                wrong.remove("no")
            for value in wrong:
                with pytest.raises(ValueError, match=f"`{name}` must be .*, got "):
                    arguments(**{**values, name: value})
    file = tmp_path / "options.json"
    file.write_text('{"output_dir": "x", "overwrite_output_dir": "false"}')
    with pytest.raises(ValueError, match="`overwrite_output_dir` must be True or False, got 'false'"):
        HfArgumentParser(LoopArguments).parse_json_file(file)
    file.write_text("output_dir: x\nnum_train_epochs: 2.5\n")
    with pytest.raises(ValueError, match="`num_train_epochs` must be a whole number, got 2.5"):
        HfArgumentParser(LoopArguments).parse_yaml_file(file)
    with pytest.raises(ValueError, match="`language` must be a list, each of it a text or None, got 'en'"):
        HubArguments(language="en")
    assert LoopArguments(output_dir=tmp_path, learning_rate=np.float32(1), seed=np.int64(3), max_grad_norm=1)


def test_an_expression_is_one() -> None:
    for arguments in (AnswersArguments, QuestionDataArguments):
        make(arguments, question_pattern=r"\bimage\d+")
        with pytest.raises(ValueError, match="`question_pattern` must be a regular expression, got '\\(': missing"):
            make(arguments, question_pattern="(")


def test_a_file_is_one_that_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").write_text("")
    for name in ("new.json", "there"):
        Choosing(file=str(tmp_path / name))
    monkeypatch.chdir(tmp_path)
    Choosing(file="new.json")
    for name in (tmp_path, tmp_path / "missing" / "new.json", tmp_path / "there" / "new.json"):
        with pytest.raises(ValueError, match="`file` must be a file in a folder that there is"):
            Choosing(file=str(name))


@pytest.mark.parametrize(
    ("script", "words", "options", "name"),
    [
        ("evaluate_model", ["perplexity"], {"dataset_name": "x", "json": "missing/scores.json"}, "json"),
        ("evaluate_model", ["captions"], {"dataset_name": "x", "model_card": "missing/README.md"}, "model_card"),
        ("evaluate_model", ["answers"], {"dataset_name": "x", "eval_batch_size": 0}, "eval_batch_size"),
        ("evaluate_model", ["perplexity"], {"dataset_name": "x", "segment_length": -1}, "segment_length"),
        ("evaluate_attention", [], {"json": "missing/scores.json"}, "json"),
        ("evaluate_attention", [], {"seed": -1}, "seed"),
    ],
)
def test_evaluation_finds_out_before_the_work(script: str, words: list[str], options: dict, name: str) -> None:
    """There is no such model, which is not even looked for."""
    with pytest.raises(ValueError, match=f"`{name}` must"):
        run_script(script, *words, model="no/such_model", **options)


def test_no_class_has_a_number_of_an_unknown_kind() -> None:
    """A field that may be a number is seen to be one, however it is written."""
    for arguments in CLASSES:
        for name, (kind, _) in notes_of_fields(arguments).items():
            assert not isinstance(kind, str), name
            default = next(entry for entry in dataclasses.fields(arguments) if entry.name == name).default
            is_literal = get_origin(kind) is Literal
            if isinstance(default, int | float) and not isinstance(default, bool) and not is_literal:
                assert is_number(kind), name
                assert math.isfinite(default)
