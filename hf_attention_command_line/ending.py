"""How the command and the scripts end: upon SIGTERM, Ctrl-C and a mistake of who called them in one line."""

import io
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from itertools import takewhile
from pathlib import Path
from types import FrameType
from typing import Any


# What the values that somebody gave are to blame for. Other errors are faults of the program.
MISTAKES = (ValueError, OSError, ImportError)
TRACEBACK = "HF_ATTENTION_TRACEBACK"
OURS = {"hf_attention", "hf_attention_command_line"}


def end_in_one_line() -> None:
    """
    Has SIGTERM and Ctrl-C end the process with the code 143 or 130. Call it before what takes long to import. The
    training loop, which saves first, does otherwise as long as it runs.
    """
    process = os.getpid()
    speaks = os.environ.get("LOCAL_RANK", "0") == "0"

    def end(number: int, frame: FrameType | None) -> None:
        if os.getpid() == process:  # worker processes inherit this
            with suppress(Exception):
                sys.stdout.flush()
            if speaks:
                start = "\n" if os.isatty(2) else ""  # below a progress bar
                os.write(2, f"{start}Stopped by {signal.Signals(number).name}.\n".encode())
        os._exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):  # which Python has no handler for: with it, both are there
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)


def run(main: Callable[..., Any], *arguments: Any) -> int:
    """
    Runs what reads the options of this process. A mistake in them, or in what they name, is told in one line on
    standard error, which calls the options as they are typed. What comes up within the training loop, or is no
    mistake, is raised; so is everything where the environment variable HF_ATTENTION_TRACEBACK is 1.

    Args:
        main (`Callable`):
            Reads `sys.argv`.
        arguments:
            What it is called with.

    Returns:
        `int`: The exit code: 0, or 2 after a mistake.
    """
    try:
        main(*arguments)
    except BrokenPipeError:
        raise
    except MISTAKES as error:
        if os.environ.get(TRACEBACK, "0") != "0" or getattr(error, "is_of_training", False):
            raise
        message = with_dashes(one_line(error), _options(main, *arguments))
        hint = "" if _is_in_our_words(error) else f" ({TRACEBACK}=1 tells where)"
        print(f"{Path(sys.argv[0]).name}: {message}{hint}", file=sys.stderr)
        return 2
    return 0


def with_dashes(message: str, options: set[str]) -> str:
    """
    A message of the library as a command line says it.

    Args:
        message (`str`):
            Names arguments as `` `name` ``.
        options (`set[str]`):
            Those that are options, which become `--name`.
    """
    return re.sub(r"`(\w+)`", lambda found: f"--{found[1]}" if found[1] in options else found[0], message)


def one_line(error: Exception) -> str:
    """What an error says."""
    text = str(error)
    if "Traceback (most recent call last)" in text:  # of all that transformers tried: the last reason is the best
        text = re.split(r"^[\w.]*(?:Error|Exception): ", text, flags=re.MULTILINE)[-1]
        text = text.partition("Model type should be one of ")[0]
    kind = "" if isinstance(error, (*MISTAKES, TypeError)) and text else f"{type(error).__name__}: "
    return kind + " ".join(text.split())


def _options(main: Callable[..., Any], *arguments: Any) -> set[str]:
    """The options that its help tells. Only that knows them, as each `main` makes a parser of its own."""
    words = sys.argv
    kinds = takewhile(lambda word: not word.startswith("-"), words[1:])
    said = io.StringIO()
    sys.argv = [words[0], *kinds, "--help"]
    try:
        with redirect_stdout(said), redirect_stderr(said), suppress(SystemExit):
            main(*arguments)
    finally:
        sys.argv = words
    return {*re.findall(r"--(\w+)", said.getvalue())}


def _is_in_our_words(error: Exception) -> bool:
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals.get("__name__", "").partition(".")[0] in OURS
