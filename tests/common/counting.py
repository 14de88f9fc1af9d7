"""What something costs, counted rather than timed: the same on every machine, whatever else it does."""

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import PreTrainedModel

import hf_attention


PACKAGE = str(Path(hf_attention.__file__).parent)


class Counted(TorchDispatchMode):
    """
    Counts, within a `with` statement, the elements of tensors that operations read and write, of numbers with a
    fraction everywhere and of all others within a model's `forward`: outside, transformers keeps the tokens. And the
    lines of this package that are run, each time that a loop comes by.

    Args:
        model ([`~transformers.PreTrainedModel`]): The model.
    """

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.model = model
        self.elements = self.lines = 0
        self.is_within = False

    def __enter__(self) -> "Counted":
        self._hooks = (
            self.model.register_forward_pre_hook(lambda *_: setattr(self, "is_within", True)),
            self.model.register_forward_hook(lambda *_: setattr(self, "is_within", False)),
        )
        self._tracer = sys.gettrace()
        sys.settrace(self._trace)
        return super().__enter__()

    def __exit__(self, *exception) -> None:
        super().__exit__(*exception)
        sys.settrace(self._tracer)
        for hook in self._hooks:
            hook.remove()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        if not operation.is_view:
            self.elements += sum(
                tensor.numel()
                for tensor in tree_leaves((args, kwargs, result))
                if isinstance(tensor, torch.Tensor) and self._counts(tensor)
            )
        return result

    def _counts(self, tensor: torch.Tensor) -> bool:
        # Bytes are a kernel's own notes, of whatever size it rounds them to.
        return tensor.is_floating_point() or (self.is_within and tensor.dtype != torch.uint8)

    def _trace(self, frame, event, argument):
        return self._trace_lines if frame.f_code.co_filename.startswith(PACKAGE) else None

    def _trace_lines(self, frame, event, argument):
        self.lines += event == "line"
        return self._trace_lines


def growth(model: PreTrainedModel, run: Callable[[int], object], size: int) -> dict[str, float]:
    """
    How many times as much the step from twice a size to four times the size adds as that from the size to twice the
    size: 2 where the cost is linear, 4 where it is quadratic.

    Args:
        model ([`~transformers.PreTrainedModel`]): The model that is run.
        run (`Callable`): What is done at a size.
        size (`int`): The size.

    Returns:
        `dict`: Of what is counted by [`Counted`].
    """
    run(size)  # what is done once
    counts = []
    for times in (1, 2, 4):
        with Counted(model) as counted:
            run(times * size)
        counts.append(counted)
    added = {
        name: [getattr(more, name) - getattr(less, name) for less, more in zip(counts, counts[1:], strict=False)]
        for name in ("elements", "lines")
    }
    return {name: second / max(first, 1) for name, (first, second) in added.items()}
