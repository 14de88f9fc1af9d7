"""The small trained models that the package ships, each a folder in `checkpoints/`."""

import os
from difflib import get_close_matches
from pathlib import Path


FOLDER = Path(__file__).parent / "checkpoints"
NEAR = 0.8  # a share of the letters

checkpoints: tuple[str, ...] = tuple(sorted(path.parent.name for path in FOLDER.glob("*/config.json")))
"""The names of the models that the package ships."""


def checkpoint(name: str) -> str:
    """
    The folder of a model that the package ships. `hf_attention.checkpoints` lists their names, and the README.md in
    each folder says what the model is for.

    Args:
        name (`str`): The model's name, such as `"toy-translator"`.

    Returns:
        `str`: The folder, which `pipeline` and `from_pretrained` load without a network.

    Raises:
        ValueError: Where the package ships no model of that name.

    Example:

    ```python
    >>> translator = pipeline("translation", model=hf_attention.checkpoint("toy-translator"))
    ```
    """
    if name not in checkpoints:
        raise ValueError(f"`name` must be one of {', '.join(checkpoints)}, got {name!r}.")
    return str(FOLDER / name)


def find_checkpoint(name: str) -> str:
    """
    What the name of a model on a command line means: a folder; where there is none of that name, a model that the
    package ships; else a name on the Hub.

    Args:
        name (`str`): As it was given.

    Returns:
        `str`: What `from_pretrained` takes.

    Raises:
        ValueError: Where it is neither of the two, and nearly the name of a model that the package ships.
    """
    if os.path.isdir(name):
        return name
    if name in checkpoints:
        return checkpoint(name)
    near = get_close_matches(name, checkpoints, n=1, cutoff=NEAR)
    if near and "/" not in name:
        raise ValueError(f"There is no model {name!r} here. Did you mean {near[0]}?")
    return name
