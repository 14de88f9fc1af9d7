"""Dropout whose mask may be the same at all steps of a sequence."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from .door import replaceable


@replaceable
def dropout_mask(shape: torch.Size | tuple[int, ...], p: float, like: torch.Tensor) -> torch.Tensor:
    """
    Zeros with probability `p`, else `1 / (1 - p)`.

    Args:
        shape (`tuple[int, ...]`): Of the mask.
        p (`float`): The probability of a zero.
        like (`torch.Tensor`): Whose dtype and device the mask has.
    """
    return F.dropout(like.new_ones(shape), p)


class Dropout(nn.Dropout):
    """
    As [`~torch.nn.Dropout`], in one of two ways.

    Args:
        p (`float`): The probability of a zero.
        variational (`bool`, *optional*, defaults to `False`):
            Whether all steps of a sequence have one mask (Gal and Ghahramani 2016). The input then is of shape `(rows,
            steps, size)`; step by step, see `by_step`.
    """

    def __init__(self, p: float = 0.5, variational: bool = False):
        super().__init__(p)
        self.variational = variational

    @property
    def is_active(self) -> bool:
        """Whether anything is dropped."""
        return self.training and self.p > 0

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self.is_active:
            return input
        shape = (input.shape[0], 1, input.shape[2]) if self.variational else input.shape
        return input * dropout_mask(shape, self.p, input)

    def by_step(self, like: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        """
        What acts on each step of a sequence in turn: variational, it is the same mask every time.

        Args:
            like (`torch.Tensor` of shape `(rows, size)`): One step.
        """
        if not (self.variational and self.is_active):
            return self
        mask = dropout_mask(like.shape, self.p, like)
        return lambda input: input * mask.to(input.dtype)
