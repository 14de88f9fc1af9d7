"""The hyperbolic tangent in terms of what processors compute in less time."""

import torch

from ..models.recording import is_recording


def tanh(inputs: torch.Tensor) -> torch.Tensor:
    r"""
    As [`~hf_attention.models.activation.tanh`], in float32 on processors, where no gradient is wanted:
    \\( \tanh(x) = 2 \sigma(2 x) - 1 \\), to 2e-7. PyTorch's sigmoid takes a tenth of its tangent's time on some.
    """
    if inputs.dtype != torch.float32 or inputs.device.type != "cpu" or torch.is_grad_enabled() or is_recording():
        return NotImplemented
    return (2 * inputs).sigmoid_().mul_(2).sub_(1)
