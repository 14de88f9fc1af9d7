"""Files and folders that are written whole or not at all."""

import os
import re
import shutil
from pathlib import Path

import pytest

from hf_attention.training.files import (
    clear_leftovers,
    damage,
    link_folder,
    named_on_error,
    replace_file,
    replace_files,
    replace_folder,
    write_manifest,
)


class Killed(BaseException):
    """As by SIGKILL: nothing is cleared up."""


def kill_at(patch: pytest.MonkeyPatch, number: int) -> None:
    """Kills at the given one of the calls that change what a name stands for."""
    calls = 0

    def counted(function):
        def call(path, *args, **kwargs):
            nonlocal calls
            calls += Path(path).exists()
            if calls == number:
                raise Killed
            return function(path, *args, **kwargs)

        return call

    patch.setattr(os, "replace", counted(os.replace))
    patch.setattr(shutil, "rmtree", counted(shutil.rmtree))


def write(version: str):
    def write_both(folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        for name in ("one.txt", "two.txt"):
            (folder / name).write_text(version)

    return write_both


@pytest.mark.parametrize("number", range(1, 5))
def test_a_folder_is_the_old_or_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    replace_folder(tmp_path / "it", write("old"))
    with monkeypatch.context() as patch:
        kill_at(patch, number)
        try:
            replace_folder(tmp_path / "it", write("new"))
        except Killed:
            pass
    clear_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["it"]
    assert len({path.read_text() for path in (tmp_path / "it").iterdir()}) == 1


@pytest.mark.parametrize("number", range(1, 4))
def test_each_file_is_the_old_or_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    write("old")(tmp_path)
    (tmp_path / "mine.txt").write_text("mine")
    with monkeypatch.context() as patch:
        kill_at(patch, number)
        try:
            replace_files(tmp_path, write("new"))
        except Killed:
            pass
    clear_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"one.txt", "two.txt", "mine.txt"}
    written = [(tmp_path / name).read_text() for name in ("one.txt", "two.txt")]
    assert written == ["new"] * (number - 1) + ["old"] * (3 - number)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_what_cannot_be_written_is_named_and_leaves_the_old(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.write_text("half")
        raise RuntimeError("basic_ios::clear: iostream error")

    (tmp_path / "it").write_text("old")
    with pytest.raises(OSError, match=rf"it cannot be written to {re.escape(str(tmp_path))}, where \d+ MiB are free"):
        replace_file(tmp_path / "it", fail)
    assert [path.name for path in tmp_path.iterdir()] == ["it"]
    assert (tmp_path / "it").read_text() == "old"
    with pytest.raises(RuntimeError, match="^another$"), named_on_error(tmp_path / "it"):
        raise RuntimeError("another")


def test_a_manifest_knows_what_a_folder_is_made_of(tmp_path: Path) -> None:
    write("first")(tmp_path / "source")
    write("first")(tmp_path / "source" / "below")
    link_folder(tmp_path / "source", tmp_path / "it")
    folder = tmp_path / "it"
    assert damage(folder) == ["manifest.json is missing"]
    write_manifest(folder)
    assert damage(folder) == []
    (folder / "more.txt").write_text("a note of mine")
    assert damage(folder) == []
    shutil.rmtree(tmp_path / "source")
    (folder / "below" / "one.txt").unlink()
    (folder / "one.txt").write_text("FIRST")
    (folder / "two.txt").write_text("longer than before")
    assert damage(folder) == [
        "below/one.txt is missing",
        "one.txt holds something else than was written",
        "two.txt has 18 bytes, not 5",
    ]
    (folder / "one.txt").unlink()
    (folder / "one.txt").mkdir()
    assert "one.txt has" in damage(folder)[1] or "cannot be read" in damage(folder)[1]
    for text in ("", "{", "[]", "{}", '{"files": {"one.txt": 1}}'):
        (folder / "manifest.json").write_text(text)
        assert damage(folder) == ["manifest.json is damaged"]
