"""
What makes the models quick: the same mathematics, with gradients of its own. `hf_attention.models` finds it when this
package is imported; the code that a checkpoint carries does without.

`HF_ATTENTION_FAST=0` in the environment, or [`disable`], turns it off; [`enable`] turns it on again. The switch is one
for the whole process: do not turn it in several threads at once.
"""

import contextlib
import os
from collections.abc import Callable, Iterable

from ..models.door import WAYS
from .activation import tanh
from .beam_search import search_beams
from .dropout import dropout_mask
from .forbidden_tokens import forbid_tokens
from .layout import lay_out_pixels
from .loss import summed_token_loss
from .packing import apply_linear, fixed_weights
from .recurrence import layers_by_step, read_padded, run_layers


# Each part by its name: the functions of `hf_attention.models` that it replaces.
PARTS: dict[str, tuple[Callable, ...]] = {
    "activation": (tanh,),
    "beam_search": (search_beams,),
    "dropout": (dropout_mask,),
    "forbidden_tokens": (forbid_tokens,),
    "layout": (lay_out_pixels,),
    "loss": (summed_token_loss,),
    "packing": (apply_linear, fixed_weights),
    "reading": (read_padded,),
    "recurrence": (layers_by_step, run_layers),
}


class _Restoring(contextlib.AbstractContextManager):
    """Takes back at the end of a `with` block what was changed at its beginning."""

    def __init__(self, before: dict[str, Callable]):
        self.before = before

    def __exit__(self, *exception) -> None:
        WAYS.clear()
        WAYS.update(self.before)


def _ways_of(parts: Iterable[str]) -> dict[str, Callable]:
    unknown = sorted(set(parts) - set(PARTS))
    if unknown:
        raise ValueError(f"`parts` must be of {', '.join(PARTS)}, got {', '.join(unknown)}.")
    return {way.__name__: way for part in parts or PARTS for way in PARTS[part]}


def enable(*parts: str) -> contextlib.AbstractContextManager:
    """
    Lets models be computed in the quicker ways, from now on, or within a `with` statement.

    Args:
        parts (`str`): Those that are turned on: names of `PARTS`. By default all.

    Raises:
        ValueError: Where a part is unknown.
    """
    before, ways = dict(WAYS), _ways_of(parts)
    WAYS.update(ways)
    return _Restoring(before)


def disable(*parts: str) -> contextlib.AbstractContextManager:
    """
    Lets models be computed as `hf_attention.models` has it written, from now on, or within a `with` statement.

    Args:
        parts (`str`): Those that are turned off: names of `PARTS`. By default all.

    Raises:
        ValueError: Where a part is unknown.
    """
    before = dict(WAYS)
    for name in _ways_of(parts):
        WAYS.pop(name, None)
    return _Restoring(before)


def is_enabled(part: str) -> bool:
    """
    Whether a part is turned on.

    Args:
        part (`str`): A name of `PARTS`.
    """
    return all(name in WAYS for name in _ways_of([part]))


def _follow_environment() -> None:
    wish = os.environ.get("HF_ATTENTION_FAST", "1")
    if wish not in ("0", "1"):
        raise ValueError(f"The environment variable HF_ATTENTION_FAST must be 0 or 1, got {wish!r}.")
    if wish == "1":
        enable()


_follow_environment()
