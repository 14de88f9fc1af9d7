"""What all classes of command line options have in common: how they are read, and that their values are checked."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from types import NoneType
from typing import Any, Literal, NoReturn, get_args, get_origin

from transformers import HfArgumentParser

from .models.ranges import Range, notes_of_fields


COUNT = Range(1)  # of what there must be some
NOT_NEGATIVE = Range(0)
PROPORTION = Range(0, 1)
SEED = Range(0, 2**32)  # as NumPy's are
LENGTH_PENALTY = Range(-10, 10, "[]")  # an exponent of the length: beyond, its power is no number any more


class WritableFile:
    """A file that is written at the end of the work."""

    def check(self, name: str, value: str | None) -> None:
        """
        Args:
            name (`str`): The field.
            value (`str`, *optional*): The file.

        Raises:
            ValueError: Where no such file can be written.
        """
        if value is None:
            return
        path = Path(value)
        if path.is_dir() or not path.parent.is_dir():
            raise ValueError(f"`{name}` must be a file in a folder that there is, got {value!r}.")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise ValueError(f"`{name}` must be a file that can be written, got {value!r}.")


class SumOf:
    """
    One of some names, or a sum of them: `"cider"`, `"cider+bleu_4"`.

    Args:
        names (`Sequence[str]`): The names.
    """

    def __init__(self, names: Sequence[str]):
        self.names = names

    def check(self, name: str, value: str | None) -> None:
        """
        Args:
            name (`str`): The field.
            value (`str`, *optional*): The sum.

        Raises:
            ValueError: Where there is something else in it; the message names that.
        """
        if value is None:
            return
        if unknown := set(summands(value)) - set(self.names):
            words = ", ".join(repr(each) for each in sorted(unknown))
            raise ValueError(f"`{name}` must be one of {', '.join(self.names)}, or a sum as a+b, got {words}.")


def summands(metric: str) -> list[str]:
    """
    Args:
        metric (`str`): A sum of names, see [`SumOf`].

    Returns:
        `list[str]`: The names.
    """
    return metric.split("+")


class Expression:
    """A regular expression."""

    def check(self, name: str, value: str | None) -> None:
        """
        Args:
            name (`str`): The field.
            value (`str`, *optional*): The expression.

        Raises:
            ValueError: Where it is none.
        """
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"`{name}` must be a regular expression, got {value!r}: {error}.") from error


class OptionParser(HfArgumentParser):
    """Reads a command line, and says in one line what is wrong with it. Options are typed whole."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def read(self, argv: Sequence[str] | None = None) -> list[Any]:
        """
        Args:
            argv (`Sequence[str]`, *optional*):
                The words, by default those of this process.

        Returns:
            `list`: An instance of each class of options.
        """
        *found, unknown = self.parse_args_into_dataclasses(argv, return_remaining_strings=True)
        if unknown:
            self.error(f"unknown: {' '.join(unknown)}")
        return found

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{Path(self.prog).name}: {message} (--help says more)\n")


@dataclass
class CheckedArguments:
    """
    Base of the classes of options. What a number may be stands beside it, `seed: Annotated[int, SEED] = 0`; a field of
    some choices is a `Literal`. Each value is of the type that its field says, wherever it comes from.

    Raises:
        ValueError: Where a value is none that is allowed.
    """

    def __post_init__(self) -> None:
        for name, (kind, notes) in notes_of_fields(type(self)).items():
            check_option(name, getattr(self, name), kind, notes)


def check_option(name: str, value: Any, kind: Any, notes: Sequence[Any] = ()) -> None:
    """
    Args:
        name (`str`):
            An option.
        value (`Any`):
            Its value.
        kind (`Any`):
            Of which type it must be.
        notes (`Sequence`):
            What else is said beside it: a [`Range`], or whatever has a method `check`.

    Raises:
        ValueError: Where it is none that is allowed; the message names the option.
    """
    if not _fits(value, kind):
        raise ValueError(f"`{name}` must be {_in_words(kind)}, got {value!r}.")
    for note in notes:
        note.check(name, value)


# What is taken for a value of a type, and how it is called.
_KINDS = {
    bool: (bool, "True or False"),
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
    str: (str | os.PathLike, "a text"),
    list: (list | tuple, "a list"),
    NoneType: (NoneType, "None"),
}


def _fits(value: Any, kind: Any) -> bool:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return value in inner
    if origin is list:
        return _fits(value, list) and all(_fits(each, inner[0]) for each in value)
    if inner:
        return any(_fits(value, each) for each in inner)
    return isinstance(value, _KINDS[kind][0]) and (kind is bool or not isinstance(value, bool))


def _in_words(kind: Any) -> str:
    choices = _choices(kind)
    if choices:
        return f"one of {', '.join(map(str, choices))}"
    if get_origin(kind) is list:
        return f"a list, each of it {_in_words(*get_args(kind))}"
    return " or ".join(map(_in_words, get_args(kind))) or _KINDS[kind][1]


def _choices(kind: Any) -> tuple[Any, ...]:
    """The values of a `Literal`, with `None` where it may be left open."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    literals = [each for each in get_args(kind) if get_origin(each) is Literal]
    return (*get_args(literals[0]), None) if literals else ()
