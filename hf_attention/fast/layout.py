"""The order of pixels in memory."""

import torch

from ..models.recording import is_exporting


def lay_out_pixels(pixel_values: torch.Tensor) -> torch.Tensor:
    """
    As [`~hf_attention.models.backbones.lay_out_pixels`]: channels last, in which convolutions are quicker on
    processors, whatever the order of their weights.
    """
    if pixel_values.ndim != 4 or pixel_values.device.type != "cpu" or is_exporting():
        return NotImplemented
    return pixel_values.contiguous(memory_format=torch.channels_last)
