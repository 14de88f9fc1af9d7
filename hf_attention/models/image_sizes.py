"""Which sizes of images a vision model takes, and which are nearest to one that it does not take."""

import copy
import math
from collections.abc import Callable

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from .backbones import grid_shape, make_backbone, usual_image_size


FARTHEST = 64  # pixels from a size to the next that is looked for


def check_padding(name: str, backbone_config: PreTrainedConfig, image_size: tuple[int, int]) -> None:
    """
    Holds a size against the padding of EfficientNet, which would compute something else in silence: at each halving it
    is what an even number of pixels wants or, in the blocks of `depthwise_padding`, an odd one. The sizes that fit lie
    32 pixels apart.

    Args:
        name (`str`):
            The argument that the size is of.
        backbone_config (`PreTrainedConfig`):
            The vision model's configuration.
        image_size (`tuple[int, int]`):
            Height and width.

    Raises:
        ValueError: Where it does not fit; the message names the nearest that do.
    """
    if not all(_fits_padding(backbone_config, pixels) for pixels in image_size):

        def takes(size: tuple[int, int]) -> bool:
            return all(_fits_padding(backbone_config, pixels) for pixels in size)

        raise _refusal(name, backbone_config, image_size, takes)


def check_image_size(name: str, backbone_config: PreTrainedConfig, image_size: tuple[int, int]) -> None:
    """
    Tries a size on the meta device, where there are no numbers.

    Args:
        name (`str`):
            The argument that the size is of.
        backbone_config (`PreTrainedConfig`):
            The vision model's configuration.
        image_size (`tuple[int, int]`):
            Height and width.

    Raises:
        ValueError: Where the model does not take images of this size, and does take others; the message names the
            nearest.
    """
    check_padding(name, backbone_config, image_size)
    with torch.device("meta"):
        backbone = make_backbone(backbone_config, dtype=torch.float32).eval()
    usual = usual_image_size(backbone_config)
    expected = _tokens_before_the_grid(backbone, usual)
    if expected is None or _tokens_before_the_grid(backbone, image_size) == expected:
        return
    raise _refusal(name, backbone_config, image_size, lambda size: _tokens_before_the_grid(backbone, size) == expected)


def _fits_padding(config: PreTrainedConfig, pixels: int) -> bool:
    wants_odd = getattr(config, "depthwise_padding", None)  # the blocks, by number
    if wants_odd is None:
        return True
    if pixels % 2 == 1:
        return False
    pixels //= 2
    block = 0
    for stride, repeats in zip(config.strides, config.num_block_repeats, strict=True):
        if stride == 2:
            if pixels % 2 != (block in wants_odd):
                return False
            pixels = (pixels + 1) // 2
        block += math.ceil(config.depth_coefficient * repeats)
    return pixels > 0


def _tokens_before_the_grid(backbone: PreTrainedModel, image_size: tuple[int, int]) -> int | None:
    """How many there are, of a feature map none; `None` where the model does not take the size."""
    config = backbone.config
    if not all(_fits_padding(config, pixels) for pixels in image_size):
        return None
    pixel_values = torch.zeros(1, getattr(config, "num_channels", 3), *image_size, device="meta")
    try:
        with torch.device("meta"), torch.no_grad():
            if hasattr(config, "window_size"):  # Swin keeps the smallest window that an image has left it
                backbone = copy.deepcopy(backbone)
            features = backbone(pixel_values=pixel_values).last_hidden_state
        rows, columns = grid_shape(features, config, image_size)
    except (AttributeError, RuntimeError, TypeError, ValueError):  # each model has errors of its own
        return None
    if rows * columns == 0:
        return None
    return features.shape[1] - rows * columns if features.ndim == 3 else 0


def _refusal(
    name: str,
    config: PreTrainedConfig,
    image_size: tuple[int, int],
    takes: Callable[[tuple[int, int]], bool],
) -> ValueError:
    """What is wrong with a size, and which are nearest to it."""
    nearest = list(zip(*(_nearest(takes, pixels) for pixels in image_size), strict=True))
    sizes = [size for size in dict.fromkeys(nearest) if None not in size and takes(size)] or [usual_image_size(config)]
    words = " and ".join(f"{height}x{width}" for height, width in sizes)
    return ValueError(
        f"`{name}` must be a size that a backbone of type {config.model_type!r} takes, got "
        f"{image_size[0]}x{image_size[1]} pixels (height x width): nearest to it {'is' if len(sizes) == 1 else 'are'} "
        f"{words}."
    )


def _nearest(takes: Callable[[tuple[int, int]], bool], pixels: int) -> tuple[int | None, int | None]:
    """Of squares, the next below and the next above that are taken, or the same twice."""
    if takes((pixels, pixels)):
        return pixels, pixels
    below = range(pixels - 1, max(pixels - FARTHEST - 1, 0), -1)
    above = range(pixels + 1, pixels + FARTHEST + 1)
    return tuple(next((each for each in sizes if takes((each, each))), None) for sizes in (below, above))
