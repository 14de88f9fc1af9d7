"""The door through which quicker ways of computing the same come in. A checkpoint's own code knows none."""

import functools
from collections.abc import Callable
from typing import Any


# By the names of the functions that they replace; `hf_attention.fast` fills it.
WAYS: dict[str, Callable[..., Any]] = {}


def replaceable(plain: Callable[..., Any]) -> Callable[..., Any]:
    """
    Lets a function be replaced by a quicker way of computing the same, wherever that way does not decline by returning
    `NotImplemented`.

    Args:
        plain (`Callable`): The function as it is read.
    """

    @functools.wraps(plain)
    def run(*args, **kwargs):
        way = WAYS.get(plain.__name__)
        result = NotImplemented if way is None else way(*args, **kwargs)
        return plain(*args, **kwargs) if result is NotImplemented else result

    return run
