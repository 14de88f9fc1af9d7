"""What a number may be, said beside the field that holds it: `hidden_size: Annotated[int, Range(1)] = 512`."""

import inspect
import math
from dataclasses import dataclass
from numbers import Real
from typing import Annotated, Any, get_args, get_origin


@dataclass(frozen=True)
class Range:
    """
    The numbers between two bounds.

    Args:
        low, high (`float`, *optional*, default to minus infinity and infinity):
            The bounds.
        brackets (`str`, *optional*, defaults to `"[)"`):
            Which bounds are among the numbers: `"["` and `"]"` where they are, `"("` and `")"` where not.
    """

    low: float = -math.inf
    high: float = math.inf
    brackets: str = "[)"

    def __contains__(self, number: float) -> bool:
        above = number >= self.low if self.brackets[0] == "[" else number > self.low
        below = number <= self.high if self.brackets[1] == "]" else number < self.high
        return above and below

    def __str__(self) -> str:
        if self.high < math.inf:
            return f"lie in {self.brackets[0]}{self.low}, {self.high}{self.brackets[1]}"
        if self.low > -math.inf:
            return f"be at least {self.low}" if self.brackets[0] == "[" else f"be above {self.low}"
        return "be a finite number"

    def check(self, name: str, value: Any) -> None:
        """
        Args:
            name (`str`): The field.
            value (`Any`): Its value. `None` leaves it open.

        Raises:
            ValueError: Where it is no number of the range.
        """
        if value is None:
            return
        if not isinstance(value, Real):
            raise ValueError(f"`{name}` must be a number, got {value!r}.")
        if value not in self:
            allowed = self if math.isfinite(value) else "be a finite number"
            raise ValueError(f"`{name}` must {allowed}, got {value}.")


def notes_of_fields(fields: type) -> dict[str, tuple[type, tuple[Any, ...]]]:
    """
    What is said beside the fields of a class, and of those that it is made of, in `Annotated`.

    Args:
        fields (`type`): The class.

    Returns:
        `dict[str, tuple]`: Of each field its type, and the notes behind it.
    """
    found = {}
    for each in reversed(fields.__mro__):
        for name, annotation in inspect.get_annotations(each).items():
            kind, *notes = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
            found[name] = (kind, tuple(notes))
    return found


def check_fields(fields: Any) -> None:
    """
    Holds each field against what is said beside it: a [`Range`], or whatever else has a method `check`.

    Args:
        fields (`Any`): An object whose class declares them.

    Raises:
        ValueError: Where one is not as it should be; the message names it.
    """
    for name, (_, notes) in notes_of_fields(type(fields)).items():
        for note in notes:
            note.check(name, getattr(fields, name))
