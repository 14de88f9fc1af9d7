"""What hostile cases end in, and the table of the verdict."""

import re
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import hf_attention
from hf_attention_command_line.ending import TRACEBACK


class Outcome(Enum):
    """
    What a case ends in, from good to bad. Of the first two one is right, and the case says which: most may end in
    either.
    """

    FINE = "fine"
    CLEAR = "clear error"  # raised by the package, in words that name what was wrong
    VAGUE = "vague"  # raised by the package or in one line, but it does not name what was wrong
    INSIDE = "from inside"  # raised by something that the package called, or not on purpose
    HANG = "hang"
    MEMORY = "memory"
    WRONG = "lost or wrong"  # it ended well, but not with what it should have ended with


BAD = (Outcome.INSIDE, Outcome.HANG, Outcome.MEMORY, Outcome.WRONG)


class Case(NamedTuple):
    """
    Args:
        kind (`str`):
            The row of the table: what was tried on what, such as `"kill: train_lm"`.
        name (`str`):
            How to find the case again: its seed, its file.
        outcome (`Outcome`):
            What it ended in.
        message (`str`):
            What was said.
    """

    kind: str
    name: str
    outcome: Outcome
    message: str = ""


class Verdict:
    """The cases of a test, which fails at its end, not at once, where one of them has a bad outcome."""

    def __init__(self):
        self.cases: list[Case] = []

    def add(self, kind: str, name: object, outcome: Outcome, message: str = "") -> Outcome:
        """Takes in a case that was judged elsewhere."""
        self.cases.append(Case(kind, str(name), outcome, message.strip()))
        return outcome

    def attempt(
        self, kind: str, name: object, function: Callable[[], object], words: Sequence[str] = (), seconds: float = 60
    ) -> Outcome:
        """
        Calls a function, in the main thread.

        Args:
            kind (`str`):
                The row of the table.
            name:
                Names the case.
            function (`Callable`):
                May raise.
            words (`Sequence[str]`, *optional*):
                An error must hold one of these to be clear.
            seconds (`float`, *optional*, defaults to 60):
                After them it hangs.
        """
        try:
            with _limited(seconds):
                function()
        except (Exception, SystemExit, Hang) as error:
            return self.add(kind, name, of_exception(error, words), f"{type(error).__name__}: {error}")
        return self.add(kind, name, Outcome.FINE)

    def failures(self) -> list[Case]:
        """The cases with a bad outcome."""
        return [case for case in self.cases if case.outcome in BAD]


class Hang(BaseException):
    """A function took longer than it may."""


# Of these the package raises none on purpose.
_ACCIDENTS = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, IndexError, KeyError, NameError, RecursionError),
    *(UnicodeError, StopIteration),
)
_PACKAGE = Path(hf_attention.__file__).parent
_PLACE = re.compile(r'^ *(?:\[rank\d+\]: *)?File "(.+?)", line \d+', re.MULTILINE)


def of_exception(error: BaseException, words: Sequence[str] = ()) -> Outcome:
    """What a case ended in that raised this; see [`~Verdict.attempt`] for the words."""
    if isinstance(error, Hang):
        return Outcome.HANG
    if isinstance(error, MemoryError) or "not enough memory" in str(error):
        return Outcome.MEMORY
    if isinstance(error, SystemExit):
        return Outcome.FINE if error.code in (0, None) else _in_words(str(error.code), words)
    place = traceback.extract_tb(error.__traceback__)[-1].filename
    if not _is_ours(place) or isinstance(error, _ACCIDENTS):
        return Outcome.INSIDE
    return _in_words(str(error), words)


def of_process(code: int, stderr: str, words: Sequence[str] = ()) -> Outcome:
    """What a process ended in, of which this is known."""
    if code == 0:
        return Outcome.FINE
    if "MemoryError" in stderr or "not enough memory" in stderr:
        return Outcome.MEMORY
    if "Traceback (most recent call last)" not in stderr:
        # The door hides a traceback that did not end in the package, and says so.
        return _in_words(stderr, words) if code > 0 and TRACEBACK not in stderr else Outcome.INSIDE
    places = _PLACE.findall(stderr)
    kind = last_line(stderr).partition(":")[0].rpartition(".")[2]
    if not places or not _is_ours(places[-1]) or kind in {accident.__name__ for accident in _ACCIDENTS}:
        return Outcome.INSIDE
    return _in_words(last_line(stderr), words)


def last_line(text: str) -> str:
    """The last line that says something: of a traceback, the error."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


def table(cases: Iterable[Case]) -> str:
    """A row a kind, in the order of their first cases."""
    counts: dict[str, Counter] = {}
    for case in cases:
        counts.setdefault(case.kind, Counter())[case.outcome] += 1
    heads = ["", "cases", *(outcome.value for outcome in Outcome)]
    rows = [[kind, found.total(), *(found[outcome] for outcome in Outcome)] for kind, found in counts.items()]
    rows.append(["all", *(sum(column) for column in list(zip(*rows, strict=True))[1:])] if rows else ["all"])
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _is_ours(place: str) -> bool:
    return Path(place).is_relative_to(_PACKAGE)


def _in_words(message: str, words: Sequence[str]) -> Outcome:
    clear = any(word in message for word in words) if words else bool(message.strip())
    return Outcome.CLEAR if clear else Outcome.VAGUE


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise Hang(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
