"""What is asked about: files, folders, globs, and the lines of files and of standard input."""

import glob
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple


STANDARD_INPUT = "-"


class Input(NamedTuple):
    """
    A picture's path or a line.

    Args:
        name (`str`):
            What messages call it.
        text (`str`):
            The path or the line.
        problem (`str`, *optional*):
            Why there is nothing to be asked about it.
    """

    name: str
    text: str = ""
    problem: str = ""


def is_terminal() -> bool:
    """Whether somebody types standard input."""
    return sys.stdin.isatty()


def standard_input(prompt: str) -> Iterator[Input]:
    """
    The lines of standard input, as they come.

    Args:
        prompt (`str`): What somebody who types them is asked for.
    """
    if not is_terminal():
        yield from _lines(sys.stdin.buffer, "standard input")
        return
    try:
        import readline  # noqa: F401  (arrow keys, where the system has it)
    except ImportError:
        pass
    while True:
        try:
            line = input(f"{prompt}: ")
        except EOFError:
            print()
            return
        yield Input("this line", line)


def find_pictures(words: Sequence[str]) -> Iterator[Input]:
    """
    The pictures that words of a command line name; of `-`, those that the lines of standard input name.

    Args:
        words (`Sequence[str]`): Paths, addresses, globs.
    """
    from PIL import Image

    endings = Image.registered_extensions()
    for word in words:
        if word == STANDARD_INPUT:
            for line in standard_input("picture"):
                yield from [line] if line.problem else _find(line.text, endings) if line.text.strip() else []
        else:
            yield from _find(word, endings)


def text_lines(words: Sequence[str]) -> Iterator[Input]:
    """
    The lines of the texts that words of a command line name.

    Args:
        words (`Sequence[str]`): Paths, globs, `-` for standard input.
    """
    for word in words:
        if word == STANDARD_INPUT:
            yield from standard_input("text")
            continue
        for found in _find(word, {".txt"}):
            if found.problem:
                yield found
                continue
            try:
                with open(found.text, "rb") as file:
                    yield from _lines(file, found.name)
            except OSError as error:
                yield Input(found.name, problem=error.strerror or str(error))


def _find(word: str, endings: Iterable[str]) -> Iterator[Input]:
    """The files that a word names; in a folder those with one of the endings, also deeper in it."""
    if os.path.isfile(word) or word.startswith(("http://", "https://")):
        yield Input(word, word)
    elif os.path.isdir(word):
        found = [path for path in Path(word).rglob("*") if _is_shown(path.relative_to(word), endings)]
        yield from (Input(str(path), str(path)) for path in sorted(found))
        if not found:
            yield Input(word, problem=f"the folder has no file that ends in {_some(endings)}")
    elif glob.has_magic(word):
        found = sorted(glob.glob(word, recursive=True))
        for path in found:
            yield from _find(path, endings)
        if not found:
            yield Input(word, problem="there is no such file")
    else:
        is_text = " " in word and word == os.path.basename(word)
        hint = "; a text is read from standard input" if is_text and ".txt" in endings else ""
        yield Input(word, problem=f"there is no such file or folder{hint}")


def _is_shown(path: Path, endings: Iterable[str]) -> bool:
    return path.suffix.lower() in endings and not any(part.startswith(".") for part in path.parts)


def _some(endings: Iterable[str]) -> str:
    usual = [ending for ending in (".jpg", ".png", ".txt") if ending in endings]
    return " or ".join(usual) + (" and the like" if len(usual) > 1 else "")


def _lines(file: BinaryIO, name: str) -> Iterator[Input]:
    for number, line in enumerate(file, 1):
        where = f"{name}, line {number}"
        try:
            yield Input(where, line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n"))
        except UnicodeDecodeError as error:
            yield Input(where, problem=f"it is not valid UTF-8 (byte {error.start + 1})")
