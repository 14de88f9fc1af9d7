"""What tests share is made when the first of them asks for it."""

from collections.abc import Callable
from typing import Any


class Made(dict):
    """
    Things by name, each made once. One that this machine's transformers cannot make fails those tests alone that ask
    for it.

    Args:
        make: From a name, the thing.
    """

    def __init__(self, make: Callable[[str], Any]):
        super().__init__()
        self.make = make

    def __missing__(self, name: str) -> Any:
        self[name] = self.make(name)
        return self[name]
