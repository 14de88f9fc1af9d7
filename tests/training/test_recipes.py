"""Recipes: those of the package are the measured models', and files of one's own are held to what their task takes."""

import dataclasses
import importlib
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from accelerate.state import AcceleratorState
from common.scripts import SCRIPTS, command_line, run_script
from datasets import Dataset, DatasetDict

from hf_attention.training.options import parse_arguments
from hf_attention.training.recipes import recipe_names
from hf_attention_command_line.main import DOORS
from hf_attention_command_line.main import main as run_command


ROOT = SCRIPTS.parent
CARDS = {path.name: path.read_text().replace("\\\n", " ") for path in (ROOT / "model_cards").glob("*.md")}
PAGES = CARDS | {path.name: path.read_text().replace("\\\n", " ") for path in (ROOT / "docs").glob("your_own_*.md")}
RECIPES = {name: ROOT / "hf_attention" / "training" / "recipes" / f"{name}.yaml" for name in recipe_names()}
# Where data, weights and results lie is for who trains to say; so is when the test is read.
TYPED = {"dataset_name", "backbone", "model_name_or_path", "output_dir", "seed", "do_test"}
NEEDED = {"captioner": ["--backbone=b"], "answerer": ["--backbone=b"], "translator": [], "language-model": []}


def parse(task: str, *words: str) -> dict[str, Any]:
    """The options of a task, as its `main` reads them."""
    arguments = importlib.import_module(DOORS["train"][task].module.replace(".main", ".arguments"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train", *words])
        groups = parse_arguments(task, arguments.Arguments, arguments.DEFAULTS, None)
    return {name: value for group in groups for name, value in dataclasses.asdict(group).items()}


def written(folder: Path, text: str, name: str = "mine.yaml") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_of_the_package(name: str) -> None:
    said = yaml.safe_load(re.sub(r"(?<=: )(\d+)e", r"\1.0e", RECIPES[name].read_text()))  # YAML 1.1 wants the point
    task = said.pop("train")
    assert not said.keys() & TYPED
    source = ["--model_name_or_path=m"] if re.search(r"typed:.*model_name_or_path", RECIPES[name].read_text()) else []
    words = ["--output_dir=r", "--dataset_name=d", *(source or NEEDED[task])]
    plain, found = parse(task, *words), parse(task, *words, "--recipe", name)
    assert said.items() <= found.items()
    assert {key for key in found if found[key] != plain[key]} <= {"recipe", *said}
    # A card or a page tells of it, and has a command that uses it.
    [page] = set(re.findall(r"(?:model_cards|docs)/(\w+\.md)", RECIPES[name].read_text()))
    assert f"(../hf_attention/training/recipes/{name}.yaml)" in PAGES[page]
    assert f"--recipe {name}" in PAGES[page]


def test_cards_train_by_recipes() -> None:
    commands = [line for card in CARDS.values() for line in re.findall(r"scripts/train_\w+\.py [^\n`]*", card)]
    assert len(commands) > 10
    for command in commands:
        assert "--recipe" in shlex.split(command), command


def test_what_is_typed_wins() -> None:
    words = ["--dataset_name=d", "--backbone=b", "--output_dir=r", "--recipe", "flickr8k"]
    found = parse("captioner", *words)
    assert (found["image_size"], found["mirror"], found["num_train_epochs"]) == (288, True, 8)
    for more in (["--mirror", "false", "--image_size=224"], ["--no_repeat_ngram_size=0", "--num_train_epochs", "10"]):
        for line in ([*words, *more], [*more, *words]):  # whichever comes first
            typed = parse("captioner", *line)
            assert typed | found == found and typed["label_smoothing"] == found["label_smoothing"] == 0.1
            changed = {name for name in found if typed[name] != found[name]}
            assert changed == {word.removeprefix("--").partition("=")[0] for word in more if word.startswith("--")}


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    """It may say all that could be typed, also where the data lie; words and numbers are those of YAML 1.2."""
    text = "train: language-model\ndataset_name: d\noutput_dir: r\nmixed_precision: no\nlearning_rate: 5e-4\n"
    text += "weight_decay: .5\nsave_total_limit: 2 # a remark\nlanguage: [no, de, 1:30]\ncard_picture: false\n"
    expected = {"mixed_precision": "no", "learning_rate": 5e-4, "weight_decay": 0.5, "language": ["no", "de", "1:30"]}
    expected |= {"dataset_name": "d", "output_dir": "r", "save_total_limit": 2, "card_picture": False}
    assert expected.items() <= parse("language-model", "--recipe", written(tmp_path, text)).items()
    assert parse("language-model", f"--recipe={tmp_path / 'mine.yaml'}", "--card_picture")["card_picture"] is True
    text = json.dumps({"train": "language-model", **expected, "max_steps": None}, indent="\t")
    text = "\ufeff" + text  # as Windows writes it
    found = parse("language-model", "--recipe", written(tmp_path, text, "mine.json"), "--output_dir=elsewhere")
    assert (expected | {"output_dir": "elsewhere"}).items() <= found.items() and found["max_steps"] is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("num_train_epoch: 3", "an option that 'captioner' has not, `num_train_epoch`. Did you mean num_train_epochs"),
        ("zzz: 3", "an option that 'captioner' has not, `zzz`.$"),
        ("recipe: flickr8k", "an option that 'captioner' has not, `recipe`"),
        ("source_lang: de", "an option that 'captioner' has not, `source_lang`"),
        ("num_train_epochs: eight", "`num_train_epochs` must be a whole number, got 'eight'"),
        ("num_train_epochs: 0", "`num_train_epochs` must be at least 1, got 0"),
        ("hidden_dropout: 1.5", r"`hidden_dropout` must lie in \[0, 1\), got 1.5"),
        ("learning_rate: .nan", "`learning_rate` must be a finite number, got nan"),
        ("mirror: yes", "`mirror` must be True or False, got 'yes'"),
        ("mixed_precision: bf32", "`mixed_precision` must be one of no, bf16, fp16, None, got 'bf32'"),
        ("attention_type: null", "`attention_type` must be one of .*, got None"),
        ("language: en", "`language` must be a list"),
        ("samples_per_image: 1", "`samples_per_image` must be at least 2 with .*, got 1"),
        ("seed: 010", "`seed` must be a whole number, got 10.0"),
        ("seed: 1:30", "`seed` must be a whole number, got '1:30'"),
        ("language: [2020-01-01]\nseed: 2020-13-45", "`seed` must be a whole number, got '2020-13-45'"),
        ("seed: 1\nseed: 2", "cannot be read: `seed` is there twice"),
        ("seed: [", "cannot be read: "),
    ],
)
def test_bad_recipes(tmp_path: Path, text: str, message: str) -> None:
    """The file is named, and nothing is loaded: there is no such data set."""
    file = written(tmp_path, f"train: captioner\n{text}\n")
    with pytest.raises(ValueError, match=f"(?s)(?=.*{re.escape(repr(file))}).*{message}"):
        run_script("train_captioner", recipe=file, dataset_name="no/such", backbone="no/such", output_dir="never")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("mine.yaml", "seed: 1", "does not say what it trains: a line `train: captioner`"),
        ("mine.yaml", "train: translator", "is to train 'translator', and here 'captioner' is trained"),
        ("mine.yaml", "- train", "must be lines `name: value`, got list"),
        ("mine.yaml", "", "must be lines `name: value`, got NoneType"),
        ("mine.yaml", "1: 2", "must be lines `name: value`"),
        ("mine.json", '{"train": "captioner", "seed": 1, "seed": 2}', "cannot be read: `seed` is there twice"),
        ("mine.json", "train: captioner", "cannot be read: "),
        ("mine.json", "[" * 100_000, "cannot be read: "),
        ("mine.yaml", "[" * 3_000, "cannot be read: "),
        ("mine.txt", "--seed 1", "`recipe` must be a file that ends in one of .json, .yaml, .yml"),
    ],
)
def test_files_that_are_no_recipe(tmp_path: Path, name: str, text: str, message: str) -> None:
    file = written(tmp_path, text, name)
    with pytest.raises(ValueError, match=f"(?s)(?=.*{re.escape(repr(file))}).*{message}"):
        parse("captioner", "--recipe", file)


def test_names_that_are_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`recipe` must be a file, or one of daquar.*flickr8k.*, got 'flikr8k'. Did"):
        parse("captioner", "--recipe", "flikr8k")
    with pytest.raises(ValueError, match=f"ptb.*, got {re.escape(repr(str(tmp_path)))}.$"):
        parse("captioner", "--recipe", str(tmp_path))
    with pytest.raises(ValueError, match="`recipe` must be a file"):
        parse("captioner", "--recipe", "a" * 5_000)
    with pytest.raises(ValueError, match="The recipe 'ptb' is to train 'language-model', and here 'captioner'"):
        parse("captioner", "--recipe", "ptb")


def test_a_run_tells_its_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """results.json and the card hold the options of the file, which others do not have."""
    texts = Dataset.from_dict({"text": ["a red circle left of a blue square", "a small star"] * 20})
    DatasetDict(dict.fromkeys(("train", "validation"), texts)).save_to_disk(tmp_path / "data")
    options = {"embedding_size": 8, "hidden_size": 8, "num_hidden_layers": 1, "columns": 4, "segment_length": 5}
    options |= {"train": "language-model", "num_train_epochs": 1, "min_count": 1, "eval_columns": 2}
    file = written(tmp_path, yaml.safe_dump(options))
    AcceleratorState._reset_state(reset_partial_state=True)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setattr(sys, "argv", [])
    words = command_line(recipe=file, dataset_name=tmp_path / "data", output_dir=tmp_path / "run", columns=2)
    assert run_command(["train", "language-model", *words]) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["recipe"] == options
    assert "--recipe mine.yaml --dataset_name data --output_dir run --columns 2" in results["command"]
    card = (tmp_path / "run" / "README.md").read_text()
    block = re.search("The recipe `mine.yaml`:\n\n```yaml\n(.*?)```", card, re.DOTALL)[1]
    assert yaml.safe_load(block) == options
    assert "| `columns` | `2` |" in card and "| `segment_length` | `5` |" in card
