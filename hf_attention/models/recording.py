"""Whether operations only are recorded, for a program that runs by itself later on."""

from collections.abc import Callable
from typing import TypeVar

import torch


_T = TypeVar("_T")


def is_recording() -> bool:
    """
    Whether operations are compiled, exported or traced: what the numbers are is not known then, or is only an
    example, and checks of them step aside.
    """
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def is_exporting() -> bool:
    """Whether the program is to run without Python: within `torch.export` or `torch.jit.trace`."""
    # PyTorch 2.6 only knows that it compiles; there what is compiled, but not by `torch.compile`, is exported.
    if hasattr(torch.compiler, "is_exporting"):
        return torch.compiler.is_exporting() or torch.jit.is_tracing()
    is_compiling = torch.compiler.is_compiling() and not torch.compiler.is_dynamo_compiling()
    return is_compiling or torch.jit.is_tracing()


@torch.compiler.disable
def _call(function: Callable[[], _T]) -> _T:
    return function()


def left_out(function: Callable[[], _T]) -> _T:
    """
    Calls a function that `torch.compile` is to leave as it is, in the midst of what it compiles.

    Args:
        function (`Callable`): The function.
    """
    # Within what is exported all must be recorded, which PyTorch 2.6 cannot always tell.
    can_leave = hasattr(torch.compiler, "is_exporting") and not is_exporting()
    return _call(function) if can_leave and torch.compiler.is_dynamo_compiling() else function()
