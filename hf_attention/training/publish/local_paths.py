"""What is published says nothing of where this machine keeps its files."""

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any


# A path may stand within a text: alone, or behind a sign, as in `--option=/a/b`; what `https:` begins is none.
_PATH = re.compile(r"""(?:(?<=[\s=,;:'"|(\[{])|^)(?:file://)?(?:~[\w.-]*)?/(?!/)[^\s=,;:'"|()\[\]{}]+""")
_VARIABLE = "HF_ATTENTION_DATA"


def is_local(name: str | None) -> bool:
    """Whether it names a file or folder of this machine: one that is there, or a path that begins as only they do."""
    if not name:
        return False
    return name.startswith(("/", "./", "../", "~", "file:")) or _exists(name)


def without_local_paths(value: Any) -> Any:
    """
    The same without local paths: of each only the last part is left, or what lies below `$HF_ATTENTION_DATA`.

    Args:
        value (`Any`): A text, or lists and dictionaries of such; anything else stays.
    """
    if isinstance(value, dict):
        return {without_local_paths(key): without_local_paths(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_local_paths(each) for each in value]
    if isinstance(value, os.PathLike):
        return _shortened(os.fspath(value))
    if not isinstance(value, str):
        return value
    if is_local(value):
        return _shortened(value)
    return _PATH.sub(lambda found: _shortened(found[0]), value)


def command_line(words: Sequence[str]) -> str:
    """A command as it can be published, quoted for a shell; the first word may be several, `hf-attention train …`."""
    return " ".join([Path(words[0]).name, *map(_word, words[1:])])


def _word(word: str) -> str:
    option, sign, value = word.partition("=") if word.startswith("--") and "=" in word else ("", "", word)
    value = without_local_paths(value)
    # Between single quotes a shell would leave the variable as it is.
    is_variable = value.startswith(f"${_VARIABLE}")
    quoted = f'"{value}"' if is_variable and " " in value else value if is_variable else shlex.quote(value)
    return f"{option}{sign}{quoted}"


def _shortened(path: str) -> str:
    path = os.path.abspath(os.path.expanduser(path.removeprefix("file://").removeprefix("file:")))
    folder = os.environ.get(_VARIABLE)
    if folder and Path(path).is_relative_to(os.path.abspath(folder)):
        return os.path.join(f"${_VARIABLE}", os.path.relpath(path, os.path.abspath(folder))).removesuffix("/.")
    return Path(path).name or "PATH"


def _exists(name: str) -> bool:
    try:
        return Path(name).exists()
    except (OSError, ValueError):  # too long, or with a null
        return False
