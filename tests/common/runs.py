"""What the tests of the training loop share."""

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file

from common import tiny_run as tiny
from common.tiny_run import RunArguments


# Order and dropout depend on random numbers; the last step of an epoch has a batch less than the others.
RANDOM = RunArguments(shuffle=True, dropout=0.3, examples=19, counting=True)


class Interrupting(tiny.CountingObjective):
    """Calls a function at the batch `number`, counted from 1."""

    def __init__(self, number: int, function: Callable[[], None]):
        super().__init__()
        self.number, self.function, self.calls = number, function, 0

    def __call__(self, *args) -> torch.Tensor:
        self.calls += 1
        if self.calls == self.number:
            self.function()
        return super().__call__(*args)


def interrupt() -> None:
    raise KeyboardInterrupt


def scores(*values: float) -> Callable:
    """An evaluation that gives these losses in turn."""
    turns = iter(values)
    return lambda model: {"loss": next(turns)}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def assert_same(first: Path, second: Path, *files: str, exact: bool = True) -> None:
    for file in files or ("best/model.safetensors",):
        one, two = load_file(first / file), load_file(second / file)
        assert one.keys() == two.keys()
        for name in one:
            tolerance = {"rtol": 0, "atol": 0} if exact else {"rtol": 1e-5, "atol": 1e-6}
            torch.testing.assert_close(one[name], two[name], **tolerance)
