"""How mistakes of who called a command end, and what is none."""

import argparse
import subprocess
import sys
from pathlib import Path

import pytest
from common.scripts import SCRIPTS, child_environment
from PIL import Image

from hf_attention.training.loop.interruption import StopSignals
from hf_attention_command_line.ending import TRACEBACK, run, with_dashes
from hf_attention_command_line.main import main


def test_arguments_are_called_as_they_are_typed() -> None:
    message = "`image_dir` says where, `other` not, `image_dir=None` neither."
    assert with_dashes(message, {"image_dir"}) == "--image_dir says where, `other` not, `image_dir=None` neither."


def door(error: Exception):
    """A `main` that has an option, and fails."""

    def main() -> None:
        parser = argparse.ArgumentParser()
        parser.add_argument("kind")
        parser.add_argument("--image_dir")
        parser.parse_args()
        raise error

    return main


@pytest.fixture(autouse=True)
def argv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["some/script.py", "captions", "--image_dir", "photos"])


@pytest.mark.parametrize("kind", [ValueError, FileNotFoundError, ConnectionError, ImportError])
def test_a_mistake_ends_in_one_line(
    kind: type, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert run(door(kind("`image_dir` holds\n\n no `picture`."))) == 2
    where = "(HF_ATTENTION_TRACEBACK=1 tells where)"
    assert capsys.readouterr() == ("", f"script.py: --image_dir holds no `picture`. {where}\n")
    assert sys.argv[1:] == ["captions", "--image_dir", "photos"]
    monkeypatch.setenv(TRACEBACK, "1")
    with pytest.raises(kind):
        run(door(kind("`image_dir`")))


@pytest.mark.parametrize("kind", [TypeError, AssertionError, RuntimeError, KeyError, BrokenPipeError])
def test_a_fault_is_raised(kind: type) -> None:
    with pytest.raises(kind):
        run(door(kind("deep inside")))


def test_what_comes_up_in_the_training_loop_is_raised() -> None:
    def train() -> None:
        with StopSignals():
            raise ValueError("after hours")

    with pytest.raises(ValueError, match="after hours"):
        run(train)


def photos(folder: Path, *names: str, **texts: str) -> None:
    folder.mkdir()
    for name in names:
        Image.new("RGB", (8, 8)).save(folder / f"{name}.png")
    for name, text in texts.items():
        (folder / f"{name}.csv").write_text(text)


LETTERS = "abcdefghijkl"
TRAIN = ["train", "captioner", "--output_dir", "run", "--backbone", "some/backbone", "--dataset_name"]
CAPTIONS = ["evaluate", "captions", "--model", "scenes-captioner", "--dataset_name"]


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    (tmp_path / "empty").mkdir()
    photos(tmp_path / "bare", "a")
    rows = "".join(f"{name}.png,one,two\n" for name in LETTERS)
    photos(tmp_path / "two", *LETTERS, metadata=f"file_name,caption,text\n{rows}")
    photos(tmp_path / "missing", "a", captions="image,caption\na.png,one\nb.png,two\n")
    rows = "".join(f"{name}.png,one\n" for name in LETTERS)
    photos(tmp_path / "good", *LETTERS, captions=f"image,caption\n{rows}")


@pytest.mark.parametrize(
    ("words", "messages"),
    [
        ([*TRAIN, "photoz"], ["--dataset_name is 'photoz': there is no such folder here, and the Hub cannot be"]),
        ([*TRAIN, "empty"], ["--dataset_name is 'empty', a folder without a file."]),
        ([*TRAIN, "bare"], ["Put a captions.txt (first line image,caption) or a metadata.csv", "your_own_photos.md"]),
        (
            [*TRAIN, "two"],
            ["--captions_column is 'captions'", "'caption' and 'text' may be meant: --captions_column "],
        ),
        ([*TRAIN, "missing"], ["--image_dir says where they are, --skip_bad_images leaves such rows out."]),
        ([*TRAIN, "good"], ["--backbone is 'some/backbone', which is no folder here and does not load: ", "connect"]),
        ([*TRAIN, "good", "--num_train_epochs", "0"], ["--num_train_epochs must be "]),
        (["train", "captioner", "--output_dir", "run", "--dataset_name", "good"], ["Give either --backbone (pre"]),
        (
            [*CAPTIONS, "two"],
            ["--split: the data set has no split 'test'", "--split 'validation' is what training held out"],
        ),
        ([*CAPTIONS, "two", "--split", "train"], ["--captions_column is 'captions'"]),
        (
            ["evaluate", "captions", "--model", "toy-translator", "--dataset_name", "good"],
            ["--model 'toy-translator' is of the model type 'attention_seq2seq', which AutoModelForImageTextToText"],
        ),
        (
            ["evaluate", "perplexity", "--model", "toy-translator", "--dataset_name", "good"],
            ["another of the evaluations may be meant, answers, captions, chat, translation."],
        ),
        (["evaluate", "attention", "--model", "scene-captioner"], ["Did you mean scenes-captioner?"]),
    ],
)
def test_mistakes_of_users(
    words: list[str], messages: list[str], folders: None, capsys: pytest.CaptureFixture
) -> None:
    assert main(words) == 2
    output, errors = capsys.readouterr()
    last = errors.splitlines()[-1]
    assert output == "" and "Traceback" not in errors
    assert last.startswith(f"hf-attention {words[0]}") and "`" not in last
    for message in messages:
        assert message in last


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["train", "language-model", "--dataset_name", "x", "--output_dir", "y", "--lerning_rate=3"],
            "--lerning_rate=3",
        ),
        (["train", "language-model"], "the following arguments are required: --output_dir"),
        (["evaluate", "captions", "--model", "m", "--dataset_name", "x", "--beams=3"], "--beams=3"),
        (["push", "runs/none", "name"], "runs/none holds no model"),
    ],
)
def test_options_that_are_none(words: list[str], message: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(words)
    output, errors = capsys.readouterr()
    assert (stopped.value.code, output, errors.count("\n")) == (2, "", 1)
    assert message.replace("-", "_") in errors.replace("-", "_") and errors.endswith(" (--help says more)\n")


def test_a_script_is_such_a_door(tmp_path: Path) -> None:
    words = ["--output_dir", "run", "--dataset_name", "none", "--segment_length", "0"]
    command = [sys.executable, str(SCRIPTS / "train_lm.py"), *words]
    ended = subprocess.run(command, capture_output=True, text=True, env=child_environment(), cwd=tmp_path, timeout=120)
    assert ended.returncode == 2 and ended.stderr.startswith("train_lm.py: --segment_length must be ")
    assert ended.stderr.count("\n") == 1
