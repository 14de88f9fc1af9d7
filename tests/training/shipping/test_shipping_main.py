import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from common.scripts import SCRIPTS, run_script

from hf_attention.shipped import checkpoint
from hf_attention.training.shipping import main
from hf_attention.training.shipping.recipes import RECIPES


@pytest.fixture
def packaged(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What is packaged of which run, in place of packaging it."""
    calls = []

    def package(name: str, recipe: Any, run: Path, folder: Path) -> dict[str, float]:
        calls.append((name, run, folder))
        return {"perplexity": 2.0}

    monkeypatch.setattr(main, "package", package)
    return calls


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that are run, in place of running them."""
    ran = []

    def run(command: list[str], cwd: Path, check: bool) -> None:
        assert cwd == SCRIPTS.parent and check
        ran.append(command)

    monkeypatch.setattr(subprocess, "run", run)
    return ran


def test_all_are_trained_by_the_commands_of_their_cards(
    packaged: list, commands: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_script("make_checkpoints", output_dir=tmp_path)
    assert [name for name, *_ in packaged] == list(RECIPES)
    assert all(run == SCRIPTS.parent / RECIPES[name].run for name, run, _ in packaged)
    assert all(folder == tmp_path / name for name, _, folder in packaged)
    assert len(commands) == sum(len(recipe.commands) for recipe in RECIPES.values())
    for command in commands:
        assert command[0] == sys.executable and all(word.strip() for word in command)
        if command[1] == "-c":
            compile(command[2], "data", "exec")
        else:
            assert (SCRIPTS.parent / command[1]).is_file()
            assert command[command.index("--output_dir") + 1] in {
                recipe.run.removesuffix("/best") for recipe in RECIPES.values()
            }


def test_a_finished_run_is_packaged_without_training(packaged: list, commands: list, tmp_path: Path) -> None:
    run_script("make_checkpoints", only="toy-translator", from_run=tmp_path / "run", output_dir=tmp_path)
    assert packaged == [("toy-translator", tmp_path / "run", tmp_path / "toy-translator")]
    assert not commands


def test_a_run_of_no_one_model_is_refused(packaged: list, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        run_script("make_checkpoints", from_run=tmp_path, output_dir=tmp_path)
    assert "--from_run needs --only" in capsys.readouterr().err
    assert not packaged


def test_what_is_shipped_is_measured_without_packaging(
    packaged: list, commands: list, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    measured = []
    recipe = dataclasses.replace(
        RECIPES["toy-translator"], measure=lambda folder: measured.append(folder) or {"alignment_error": 0.25}
    )
    monkeypatch.setitem(RECIPES, "toy-translator", recipe)
    run_script("make_checkpoints", "--measure", only="toy-translator")
    assert measured == [checkpoint("toy-translator")]
    assert capsys.readouterr().out == "toy-translator alignment_error 0.2500\n"
    assert not packaged and not commands
