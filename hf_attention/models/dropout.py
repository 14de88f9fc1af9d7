"""Dropout on activations, and on the weights that make a state out of the last."""

import math
from collections.abc import Callable

import torch
from torch import nn


class Dropout(nn.Dropout):
    """
    As [`~torch.nn.Dropout`], its mask drawn from bits: on CPUs many times as fast.

    Args:
        p (`float`): The probability of a zero, rounded to a multiple of 2⁻¹⁶.
        variational (`bool`, *optional*, defaults to `False`):
            Whether all steps of a sequence have one mask (Gal and Ghahramani 2016). The input then is of shape `(rows,
            steps, size)`; step by step, see `over_steps`.
    """

    def __init__(self, p: float = 0.5, variational: bool = False):
        super().__init__(p)
        self.variational = variational

    def _mask(self, shape: torch.Size | tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
        if self._dropped == 2**16:
            return like.new_zeros(shape)
        # Of 16 bits each: the generator takes as long for 64.
        count = math.prod(shape)
        bits = torch.randint(-(2**63), 2**63 - 1, (-(-count // 4),), dtype=torch.int64, device=like.device)
        keep = bits.view(torch.int16)[:count].view(shape) >= self._dropped - 2**15
        return keep.to(like.dtype).mul_(2**16 / (2**16 - self._dropped))

    @property
    def _dropped(self) -> int:
        """How many of 2¹⁶ elements."""
        return round(self.p * 2**16)

    @property
    def is_active(self) -> bool:
        """Whether anything is dropped."""
        return self.training and self._dropped > 0

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self.is_active:
            return input
        shape = (input.shape[0], 1, input.shape[2]) if self.variational else input.shape
        return input * self._mask(shape, input)

    def over_steps(self, like: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        """
        What acts on each step of a sequence in turn: variational, it is the same mask every time.

        Args:
            like (`torch.Tensor` of shape `(rows, size)`): One step.
        """
        if not (self.variational and self.is_active):
            return self
        mask = self._mask(like.shape, like)
        return lambda input: input * mask.to(input.dtype)
