"""Vision models and text encoders of `AutoModel` as parts of a model, and the grid of regions that one makes."""

import os
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

from .door import replaceable


# A vision transformer puts at most a class, a distillation and a few register tokens before the grid.
MAX_PREFIX_TOKENS = 16


@replaceable
def lay_out_pixels(pixel_values: torch.Tensor) -> torch.Tensor:
    """
    Pixel values in the order in memory in which a backbone takes them; here as they come.

    Args:
        pixel_values (`torch.Tensor` of shape `(batch, channels, height, width)`): The images.
    """
    return pixel_values


def grid_shape(features: torch.Tensor, config: PreTrainedConfig, image_size: tuple[int, int]) -> tuple[int, int]:
    """
    Rows and columns of the grid that a vision model's last feature map is.

    Args:
        features (`torch.Tensor` of shape `(batch, channels, rows, columns)` or `(batch, tokens, channels)`):
            The `last_hidden_state`.
        config (`PreTrainedConfig`):
            The vision model's configuration.
        image_size (`tuple[int, int]`):
            Height and width of the pixel values.

    Raises:
        ValueError: Where the features are no grid.
    """
    if features.ndim == 4:
        if _covers(features.shape[1:3], image_size) and not _covers(features.shape[2:], image_size):
            raise ValueError(
                f"A backbone of type {config.model_type!r} gives features of shape {tuple(features.shape)} for an "
                f"image of {image_size[0]}x{image_size[1]}: its channels come last, not behind the batch."
            )
        return features.shape[2], features.shape[3]
    size = patch_size(config)
    if features.ndim != 3 or size is None:
        raise ValueError(
            f"A backbone of type {config.model_type!r} gives features of shape {tuple(features.shape)}"
            f"{'' if size is not None else ' and has no `patch_size`'}: they are no grid of regions. Take a "
            "vision model whose last_hidden_state is (batch, channels, rows, columns), or (batch, tokens, channels) "
            "with one token a patch."
        )
    if len(getattr(config, "depths", [1])) == 1:
        rows, columns = (pixels // patch for pixels, patch in zip(image_size, size, strict=True))
    else:  # hierarchical transformers pad what does not divide
        rows, columns = (-(-pixels // patch) for pixels, patch in zip(image_size, size, strict=True))
    num_prefix_tokens = features.shape[1] - rows * columns
    if not 0 <= num_prefix_tokens <= MAX_PREFIX_TOKENS:
        raise ValueError(
            f"A backbone of type {config.model_type!r} gives {features.shape[1]} tokens for an image of "
            f"{image_size[0]}x{image_size[1]}, where a grid of {rows}x{columns} patches was expected."
        )
    return rows, columns


def _covers(grid: tuple[int, int], image_size: tuple[int, int]) -> bool:
    """Whether a grid of square regions has so many rows and columns, give or take a region at the edge."""
    (rows, columns), (height, width) = grid, image_size
    return abs(rows * width - columns * height) <= max(height, width)


def patch_size(config: PreTrainedConfig) -> tuple[int, int] | None:
    """Height and width in pixels of what a token of the last stage stands for; `None` where there are no tokens."""
    size = getattr(config, "patch_size", None)
    if size is None:
        return None
    size = getattr(config, "patch_stride", size)  # Hiera's patches overlap
    height, width = (size, size) if isinstance(size, int) else size
    merges = 2 ** (len(getattr(config, "depths", [1])) - 1)  # hierarchical transformers halve the grid between stages
    return height * merges, width * merges


def flatten_grid(features: torch.Tensor, config: PreTrainedConfig, image_size: tuple[int, int]) -> torch.Tensor:
    """
    The grid of a vision model's last feature map, row by row.

    Args:
        features, config, image_size:
            As [`grid_shape`] takes them. Class, distillation and register tokens, which come first, are left out.

    Returns:
        `torch.Tensor` of shape `(batch, regions, channels)`.

    Raises:
        ValueError: Where the features are no grid.
    """
    rows, columns = grid_shape(features, config, image_size)
    if features.ndim == 4:
        return features.flatten(2).transpose(1, 2)
    return features[:, features.shape[1] - rows * columns :]


def make_regions(
    outputs: ModelOutput, config: PreTrainedConfig, image_size: tuple[int, int], layers: Sequence[int] = ()
) -> torch.Tensor:
    """
    The regions of images, from a vision model's outputs: the grid of the last feature map, row by row, and beside each
    region's features those that earlier layers have there.

    Args:
        outputs (`ModelOutput`):
            With `hidden_states`, where there are `layers`.
        config, image_size:
            As [`grid_shape`] takes them.
        layers (`Sequence[int]`, *optional*, defaults to `()`):
            Indices of `hidden_states`, which must be feature maps, or have a token for each of the last layer's. Of a
            map, each region has the mean of its share; a layer norm without weights gives every layer one scale.

    Returns:
        `torch.Tensor` of shape `(batch, regions, region_size)`.

    Raises:
        ValueError: Where the features are no grid, or there is no such layer.
    """
    features = outputs.last_hidden_state
    grid = grid_shape(features, config, image_size)
    parts = [flatten_grid(features, config, image_size)]
    for layer in layers:
        earlier = _layer(outputs, layer, config)
        if earlier.ndim == 4:
            grid_shape(earlier, config, image_size)  # refuses what is none
            pooled = F.adaptive_avg_pool2d(earlier, grid).flatten(2).transpose(1, 2)
        elif earlier.shape[:-1] == features.shape[:-1]:
            pooled = flatten_grid(earlier, config, image_size)
        else:
            raise ValueError(
                f"`backbone_layers`: layer {layer} of a backbone of type {config.model_type!r} has features of shape "
                f"{tuple(earlier.shape)}: neither a feature map nor a token for each of those of the last layer."
            )
        parts.append(F.layer_norm(pooled, pooled.shape[-1:]))
    return torch.cat(parts, -1) if layers else parts[0]


def _layer(outputs: ModelOutput, layer: int, config: PreTrainedConfig) -> torch.Tensor:
    states = outputs.get("hidden_states")
    if not states or not isinstance(states[0], torch.Tensor):
        raise ValueError(
            f"`backbone_layers` needs the hidden states of the backbone, and one of type {config.model_type!r} gives "
            "none."
        )
    if not -len(states) <= layer < len(states):
        raise ValueError(
            f"`backbone_layers` must be among the {len(states)} hidden states of the backbone, counted from 0 or from "
            f"the end, got {layer}."
        )
    return states[layer]


def grid_boxes(rows: int, columns: int) -> torch.Tensor:
    """
    The cells of a grid, row by row.

    Returns:
        `torch.Tensor` of shape `(rows * columns, 4)`: left, top, right, bottom, as shares of width and height.
    """
    top, left = torch.meshgrid(torch.arange(rows) / rows, torch.arange(columns) / columns, indexing="ij")
    return torch.stack([left, top, left + 1 / columns, top + 1 / rows], -1).flatten(0, 1)


def infer_region_shape(backbone_config: PreTrainedConfig, layers: Sequence[int] = ()) -> tuple[int, int]:
    """
    How many regions a vision model gives for an image of its usual size, and how many features each has.

    Args:
        backbone_config (`PreTrainedConfig`): Configuration of a vision model. No weights are made.
        layers (`Sequence[int]`, *optional*, defaults to `()`): As [`make_regions`] takes them.

    Returns:
        `tuple[int, int]`: Number of regions, features of a region.

    Raises:
        ValueError: Where the model makes no grid of regions of pixel values, or has no such layer.
    """
    size = usual_image_size(backbone_config)
    outputs = infer_outputs(backbone_config, size, **({"output_hidden_states": True} if layers else {}))
    return tuple(make_regions(outputs, backbone_config, size, layers).shape[1:])


def usual_image_size(backbone_config: PreTrainedConfig) -> tuple[int, int]:
    """Height and width that a vision model is configured for, or 224 pixels."""
    image_size = getattr(backbone_config, "image_size", None) or 224
    return (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)


def infer_outputs(backbone_config: PreTrainedConfig, image_size: tuple[int, int], **kwargs) -> ModelOutput:
    """
    What a vision model makes of an image on the meta device, where there are shapes and no numbers.

    Args:
        backbone_config (`PreTrainedConfig`): Configuration of a vision model. No weights are made.
        image_size (`tuple[int, int]`): Height and width of the pixel values.
        kwargs: Arguments of the model's `forward`.

    Returns:
        `ModelOutput`: With a `last_hidden_state`.

    Raises:
        ValueError: Where the model makes no feature map of pixel values.
    """
    lack = f"A backbone of type {backbone_config.model_type!r} gives no `last_hidden_state` for `pixel_values` alone"
    with torch.device("meta"):
        backbone = make_backbone(backbone_config, dtype=torch.float32).eval()
        pixel_values = torch.zeros(1, getattr(backbone_config, "num_channels", 3), *image_size)
        try:
            outputs = backbone(pixel_values=pixel_values, **kwargs)
        except (AttributeError, TypeError) as error:
            raise ValueError(f"{lack}: {error}") from error
    if not hasattr(outputs, "last_hidden_state"):
        raise ValueError(f"{lack}, but {', '.join(outputs)}.")
    return outputs


def make_backbone(backbone_config: PreTrainedConfig, **kwargs) -> PreTrainedModel:
    """
    A vision model with new weights.

    Args:
        backbone_config (`PreTrainedConfig`): Configuration of a vision model.
        kwargs: Arguments of `AutoModel.from_config`.

    Raises:
        ValueError: Where the model does not take images first of all.
    """
    backbone = AutoModel.from_config(backbone_config, **kwargs)
    if backbone.main_input_name != "pixel_values":
        tower = " Take its vision tower: `backbone_config=config.vision_config`."
        raise ValueError(
            f"A backbone of type {backbone_config.model_type!r} takes `{backbone.main_input_name}`, not "
            f"`pixel_values`.{tower if hasattr(backbone_config, 'vision_config') else ''}"
        )
    return backbone


def load_encoder(name_or_path: str | os.PathLike, tower: str, **kwargs) -> PreTrainedModel:
    """
    A pretrained vision model or text encoder, of the float32 that models are made of.

    Args:
        name_or_path (`str` or `os.PathLike`): What `AutoModel.from_pretrained` takes.
        tower (`str`): The sub-configuration to take where there is one: `"vision_config"` or `"text_config"`.
        kwargs: Arguments for `AutoModel.from_pretrained`.
    """
    hub_kwargs = {key: kwargs[key] for key in ("revision", "token") if key in kwargs}
    config = AutoConfig.from_pretrained(name_or_path, **hub_kwargs)
    kwargs.setdefault("dtype", torch.float32)  # it would load in the dtype of its checkpoint
    return AutoModel.from_pretrained(name_or_path, config=getattr(config, tower, config), **kwargs)


def weights_dtype(model: nn.Module) -> torch.dtype | None:
    """
    The dtype of a model's first floating-point weight; `None` where it has none. Unlike `PreTrainedModel.dtype`, it is
    also known in a replica of `nn.DataParallel`, which has weights and no parameters.

    Args:
        model (`nn.Module`): The model.
    """
    weights = (getattr(module, "weight", None) for module in model.modules())
    return next((w.dtype for w in weights if isinstance(w, torch.Tensor) and w.is_floating_point()), None)
