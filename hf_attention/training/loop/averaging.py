"""Averages of weights: one that follows the training, and one over the models of several epochs."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.tensor import DTensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ..files import replace_file


CANDIDATES_FOLDER = "candidates"


class RunningAverage:
    """
    An exponential average of the trained weights; at first it follows closely, to forget the random ones.

    Of a sharded model, each process averages its shard.

    Args:
        model (`nn.Module`):
            As Accelerate prepared it.
        decay (`float`):
            What is kept of the average at each step, in the long run.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.parameters = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self.averages = {name: weight.detach().clone() for name, weight in self.parameters.items()}

    @torch.no_grad()
    def update(self, updates: int) -> None:
        """
        Takes in the present weights.

        Args:
            updates (`int`):
                How often it was updated before.
        """
        # The first update replaces, as 0 of what was there before is kept.
        decay = min(self.decay, (1 + updates) / (10 + updates)) if updates else 0.0
        average = get_ema_multi_avg_fn(decay)
        average([_local(value) for value in self.averages.values()], [_local(p) for p in self.parameters.values()], 0)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within it, the model has the averaged weights."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The averages of this process, by the names of the parameters."""
        return {name: _local(value).contiguous() for name, value in self.averages.items()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Takes over what [`~RunningAverage.state_dict`] gave."""
        for name, value in self.averages.items():
            _local(value).copy_(state[name])

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, weight in self.parameters.items():
            weight, average = _local(weight), _local(self.averages[name])
            present = weight.clone()
            weight.copy_(average)
            average.copy_(present)


def choose_candidates(
    scored: Iterable[tuple[int, float]], number: int, by: Literal["last", "best"], greater_is_better: bool
) -> list[tuple[int, float]]:
    """
    Which epochs' models are worth averaging.

    Args:
        scored (`Iterable[tuple[int, float]]`):
            Epochs, and the validation metric of each.
        number (`int`):
            How many, at most.
        by (`str`):
            The last epochs, or those with the best metric.
        greater_is_better (`bool`):
            Whether more of that metric is better.

    Returns:
        `list[tuple[int, float]]`: Those of `scored`, by epoch.
    """
    sign = 1 if greater_is_better else -1
    ranked = sorted(scored, key=lambda pair: pair[0] if by == "last" else sign * pair[1], reverse=True)
    return sorted(tuple(pair) for pair in ranked[:number])


def save_candidate(model: nn.Module, output_dir: Path, epoch: int) -> None:
    """
    Keeps the weights of an epoch, without frozen ones.

    Raises:
        OSError: If they cannot be written.
    """
    folder = output_dir / CANDIDATES_FOLDER
    folder.mkdir(exist_ok=True)
    weights = {name: value.contiguous() for name, value in _trained(model).items()}
    replace_file(_candidate(output_dir, epoch), lambda partial: save_file(weights, partial))


def keep_candidates(output_dir: Path, epochs: Iterable[int]) -> None:
    """Removes the weights of all other epochs."""
    kept = {_candidate(output_dir, epoch) for epoch in epochs}
    for path in (output_dir / CANDIDATES_FOLDER).glob("*"):
        if path not in kept:
            path.unlink()


@torch.no_grad()
def load_average(model: nn.Module, output_dir: Path, epochs: Iterable[int]) -> None:
    """Gives a model the mean of the weights of several epochs."""
    weights = _trained(model)
    sums = {name: torch.zeros_like(value, dtype=torch.float64) for name, value in weights.items()}
    epochs = list(epochs)
    for epoch in epochs:
        for name, value in load_file(_candidate(output_dir, epoch)).items():
            sums[name] += value.to(sums[name].device)
    for name, value in weights.items():
        value.copy_(sums[name] / len(epochs))


def _candidate(output_dir: Path, epoch: int) -> Path:
    return output_dir / CANDIDATES_FOLDER / f"epoch-{epoch}.safetensors"


def _trained(model: nn.Module) -> dict[str, torch.Tensor]:
    parameters = {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}
    # Of a normalisation that is trained, also the running statistics.
    buffers = {name: value for name, value in model.named_buffers() if value.is_floating_point()}
    return parameters | buffers


def _local(value: torch.Tensor) -> torch.Tensor:
    value = value.detach()
    return value.to_local() if isinstance(value, DTensor) else value
