"""Which pictures and which lines a command line names."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hf_attention_command_line.inputs import Input, find_pictures, standard_input, text_lines


NAMES = ["checks.png", "circle.png", "more/night.JPG", "stripes.png", "waves.png"]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["."], NAMES),
        (["more", "waves.png"], ["more/night.JPG", "waves.png"]),
        (["c*.png"], ["checks.png", "circle.png"]),
        (["**/*.[pJ]*"], NAMES),
        (["*"], NAMES),
        (["http://host/a.png"], ["http://host/a.png"]),
    ],
)
def test_files_folders_globs_and_addresses(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], names: list[str]
) -> None:
    monkeypatch.chdir(pictures)
    found = [each for each in find_pictures(words) if each.text != "notes.txt"]  # which a glob names
    assert sorted(found) == [Input(name, name) for name in names]


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("a.png", "there is no such file or folder"),
        ("*.gif", "there is no such file"),
        ("", "there is no such file or folder"),
        ("{empty}", "the folder has no file that ends in .jpg or .png and the like"),
    ],
)
def test_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str, problem: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    word = word.format(empty="folder")
    assert list(find_pictures([word])) == [Input(word, problem=problem)]


def test_names_from_standard_input(pictures: Path, type_in: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pictures)
    type_in(b"waves.png\n\nmore\na.png\n\xff.png\n")
    assert list(find_pictures(["-"])) == [
        Input("waves.png", "waves.png"),
        Input("more/night.JPG", "more/night.JPG"),
        Input("a.png", problem="there is no such file or folder"),
        Input("standard input, line 5", problem="it is not valid UTF-8 (byte 1)"),
    ]


def test_lines_of_files_and_of_standard_input(
    tmp_path: Path, type_in: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("texts").mkdir()
    Path("texts/b.txt").write_bytes("\ufeffein Hund\r\n\r\n개\n".encode())
    Path("texts/a.txt").write_bytes(b"no \xe9 here\nlast")
    Path("texts/c.md").write_text("not read")
    type_in(b"typed\n")
    assert list(text_lines(["texts", "-", "texts/c.md", "d.txt", "a red ring"])) == [
        Input("texts/a.txt, line 1", problem="it is not valid UTF-8 (byte 4)"),
        Input("texts/a.txt, line 2", "last"),
        Input("texts/b.txt, line 1", "ein Hund"),
        Input("texts/b.txt, line 2", ""),
        Input("texts/b.txt, line 3", "개"),
        Input("standard input, line 1", "typed"),
        Input("texts/c.md, line 1", "not read"),
        Input("d.txt", problem="there is no such file or folder"),
        Input("a red ring", problem="there is no such file or folder; a text is read from standard input"),
    ]


def test_lines_are_read_as_they_come(type_in: Callable) -> None:
    type_in(b"first\nsecond\n")
    lines = standard_input("text")
    assert next(lines).text == "first"
    assert sys.stdin.buffer.read() == b"second\n"
