"""What all classes of command line options have in common: their values are checked as they are read."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from .models.ranges import Range, check_fields, notes_of_fields


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


@dataclass
class CheckedArguments:
    """
    Base of the classes of options. What a number may be stands beside it, `seed: Annotated[int, SEED] = 0`; a field of
    some choices is a `Literal`.

    Raises:
        ValueError: Where a value is none that is allowed.
    """

    def __post_init__(self) -> None:
        check_fields(self)
        for name, (kind, _) in notes_of_fields(type(self)).items():
            choices = _choices(kind)
            if choices and getattr(self, name) not in choices:
                raise ValueError(
                    f"`{name}` must be one of {', '.join(map(str, choices))}, got {getattr(self, name)!r}."
                )


def _choices(kind: Any) -> tuple[Any, ...]:
    """The values of a `Literal`, with `None` where it may be left open."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    literals = [each for each in get_args(kind) if get_origin(each) is Literal]
    return (*get_args(literals[0]), None) if literals else ()
