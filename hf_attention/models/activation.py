"""The hyperbolic tangent, which every step takes of many numbers."""

import torch

from .door import replaceable


@replaceable
def tanh(inputs: torch.Tensor) -> torch.Tensor:
    """
    The hyperbolic tangent.

    Args:
        inputs (`torch.Tensor`): Of any shape.
    """
    return inputs.tanh()
