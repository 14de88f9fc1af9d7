"""Linear layers, and the time in which their weights stay as they are."""

import contextlib

import torch
from torch import nn

from .door import replaceable


@replaceable
def apply_linear(layer: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """
    A layer that every step of generation applies.

    Args:
        layer (`nn.Module`): An `nn.Linear`, or what has taken its place.
        inputs (`torch.Tensor` of shape `(*batch, in_features)`): What it reads.

    Returns:
        `torch.Tensor` of shape `(*batch, out_features)`
    """
    return layer(inputs)


@replaceable
def fixed_weights() -> contextlib.AbstractContextManager:
    """A `with` block in which no weight changes, so that what is made of them may be kept to its end: generation."""
    return contextlib.nullcontext()
