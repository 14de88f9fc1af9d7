"""The command line itself: what is quick, what is refused, and who reads the rest."""

import importlib
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState
from common.scripts import child_environment, command_line
from datasets import Dataset, DatasetDict

from hf_attention.training.tasks.scoring import EVALUATIONS
from hf_attention_command_line.main import DOORS, Door, main


START = "from hf_attention_command_line.main import start; start()"
HEAVY = ("torch", "transformers", "numpy", "hf_attention")


@pytest.mark.parametrize("words", [["--help"], ["caption", "--help"], ["train", "--help"], ["--version"], ["env"]])
def test_it_starts_without_what_is_large(words: list[str]) -> None:
    code = f"""
import atexit, sys
atexit.register(lambda: print([name for name in {HEAVY} if name in sys.modules]))
{START}
"""
    result = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, env=child_environment(), timeout=60
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.endswith("\n[]\n")


def test_it_is_installed(capsys: pytest.CaptureFixture) -> None:
    assert main(["env"]) == 0
    lines = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert lines["torch"] == version("torch") and lines["hf_attention"] == version("hf_attention")
    assert {"Python", "system", "processor", "accelerators", "transformers", "matplotlib"} <= lines.keys()


TRAIN = ["train", "captioner", "--output_dir", "run", "--dataset_name", "photos", "--backbone", "resnet"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "hf-attention: the following arguments are required: COMMAND"),
        (["paint"], "hf-attention: argument COMMAND: invalid choice: 'paint'"),
        (["train"], "hf-attention train: the following arguments are required: KIND"),
        (["caption", "a.png"], "hf-attention caption: the following arguments are required: --model"),
        (["caption", "--model", "m", "--num_beams", "0"], "must be a whole number, at least 1, got '0'"),
        (["answer", "--model", "m", "--top_k", "two"], "must be a whole number, at least 1, got 'two'"),
        (["write", "--model", "m", "--maps"], "write does not know --maps"),
        (["env", "--all"], "env does not know --all"),
        (["caption", "--model", "m", "--num", "2"], "caption does not know --num"),
        ([*TRAIN, "--see", "3"], "unknown: --see 3"),
    ],
)
def test_wrong_words_are_told_in_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
    output, errors = capsys.readouterr()
    assert output == "" and message in errors and errors.count("\n") == 1


KINDS = [
    ([name, *kind], door)
    for name, doors in DOORS.items()
    for kind, door in ([([], doors)] if isinstance(doors, Door) else [([kind], each) for kind, each in doors.items()])
]


@pytest.mark.parametrize(("words", "door"), KINDS, ids=["-".join(words) for words, _ in KINDS])
def test_each_task_reads_its_own_options(
    words: list[str], door: Door, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", [])
    with pytest.raises(SystemExit) as stopped:
        main([*words, "--help"])
    assert stopped.value.code == 0
    output = " ".join(capsys.readouterr().out.split())
    assert output.startswith(f"usage: hf-attention {' '.join(words)} ")
    assert not door.is_told or door.help in output


def test_every_evaluation_has_a_door() -> None:
    assert DOORS["evaluate"].keys() == EVALUATIONS.keys() | {"attention"}


def test_what_an_extra_lacks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    module = importlib.import_module("hf_attention.demo.start")
    monkeypatch.setattr("hf_attention.extras.EXTRAS", {"demo": ("no_such_module",)})
    monkeypatch.setattr(sys, "argv", [])
    assert module.main is not None and main(["demo"]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("hf-attention demo: This needs no_such_module, of the extra 'demo': pip install ")
    assert errors.count("\n") == 1


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = tmp_path_factory.mktemp("texts")
    texts = ["a red circle left of a blue square", "a small star"] * 20
    DatasetDict({name: Dataset.from_dict({"text": texts}) for name in ("train", "validation", "test")}).save_to_disk(
        folder
    )
    sizes = {"embedding_size": 8, "hidden_size": 8, "num_hidden_layers": 1, "columns": 4, "segment_length": 5}
    return {"dataset_name": folder, "num_train_epochs": 1, "min_count": 1, "eval_columns": 2, **sizes}


def test_training_and_scoring(
    settings: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setattr(sys, "argv", [])
    run = tmp_path / "run"
    assert main(["train", "language-model", *command_line(**settings, output_dir=run)]) == 0
    results = json.loads((run / "results.json").read_text())
    assert results["command"].startswith("hf-attention train language-model --dataset_name ")
    assert "hf-attention train language-model --dataset_name " in (run / "README.md").read_text()
    capsys.readouterr()
    words = command_line(model=run, dataset_name=settings["dataset_name"], split="validation")
    assert main(["evaluate", "perplexity", *words]) == 0
    scores = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert scores["perplexity"] == pytest.approx(results["validation"]["perplexity"], rel=1e-4)


@pytest.mark.slow
def test_several_processes(settings: dict, tmp_path: Path) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "-m", "hf_attention"]
    words = ["train", "language-model", *command_line(**settings, output_dir=tmp_path / "run")]
    result = subprocess.run([*launch, *words], capture_output=True, text=True, env=child_environment(), timeout=300)
    assert result.returncode == 0, result.stderr
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["command"].startswith("hf-attention train language-model ")
    (checkpoint,) = (tmp_path / "run").glob("checkpoint-*")
    assert json.loads((checkpoint / "training_state.json").read_text())["state"]["num_processes"] == 2
