"""Images, or features of their regions, as the memory that a decoder attends to."""

import os

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel

from .modeling_attention import EncoderOutput
from .recording import is_recording


# A vision transformer puts at most a class, a distillation and a few register tokens before the grid.
MAX_PREFIX_TOKENS = 16


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


def grid_boxes(rows: int, columns: int) -> torch.Tensor:
    """
    The cells of a grid, row by row.

    Returns:
        `torch.Tensor` of shape `(rows * columns, 4)`: left, top, right, bottom, as shares of width and height.
    """
    top, left = torch.meshgrid(torch.arange(rows) / rows, torch.arange(columns) / columns, indexing="ij")
    return torch.stack([left, top, left + 1 / columns, top + 1 / rows], -1).flatten(0, 1)


def infer_region_shape(backbone_config: PreTrainedConfig) -> tuple[int, int]:
    """
    How many regions a vision model gives for an image of its usual size, and how many features each has.

    Args:
        backbone_config (`PreTrainedConfig`): Configuration of a vision model. No weights are made.

    Returns:
        `tuple[int, int]`: Number of regions, features of a region.

    Raises:
        ValueError: Where the model makes no grid of regions of pixel values.
    """
    image_size = getattr(backbone_config, "image_size", None) or 224
    size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    return tuple(flatten_grid(infer_features(backbone_config, size), backbone_config, size).shape[1:])


def infer_features(backbone_config: PreTrainedConfig, image_size: tuple[int, int]) -> torch.Tensor:
    """
    The last feature map of a vision model on the meta device, where there are shapes and no numbers.

    Args:
        backbone_config (`PreTrainedConfig`): Configuration of a vision model. No weights are made.
        image_size (`tuple[int, int]`): Height and width of the pixel values.

    Raises:
        ValueError: Where the model makes no feature map of pixel values.
    """
    with torch.device("meta"):
        backbone = make_backbone(backbone_config, dtype=torch.float32).eval()
        pixel_values = torch.zeros(1, getattr(backbone_config, "num_channels", 3), *image_size)
        try:
            return backbone(pixel_values=pixel_values).last_hidden_state
        except (AttributeError, TypeError) as error:
            raise ValueError(
                f"A backbone of type {backbone_config.model_type!r} gives no `last_hidden_state` for `pixel_values` "
                f"alone: {error}"
            ) from error


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


class ImageEncoder(nn.Module):
    """
    Turns pixel values, or region features computed before, into a memory.

    Args:
        config ([`AttentionCaptionerConfig`]): The configuration. An unknown `region_size` is filled in.
    """

    main_input_name = "pixel_values"

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.backbone = None
        if config.backbone_config is not None:
            if config.region_size is None:
                config.region_size = infer_region_shape(config.backbone_config)[1]
                config.check_region_size()
            self.backbone = make_backbone(config.backbone_config)
        self.region_dropout = nn.Dropout(config.region_dropout)
        if config.project_regions:
            self.projection = nn.Sequential(
                nn.Linear(config.region_size, config.memory_size), nn.ReLU(), nn.LayerNorm(config.memory_size)
            )
        else:
            self.projection = nn.Identity()
        self.position_embedding = (
            None if config.num_regions is None else nn.Embedding(config.num_regions, config.memory_size)
        )
        self.box_projection = nn.Linear(5, config.memory_size) if config.box_positions else None
        self._freeze()

    def _freeze(self) -> None:
        if self.backbone is not None and self.config.freeze_backbone:
            self.backbone.eval().requires_grad_(False)
        elif self.backbone is not None and self.config.freeze_batch_norms:
            for module in self.backbone.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def train(self, mode: bool = True) -> "ImageEncoder":
        """As any module's; a frozen backbone, or its frozen batch norms, stay in evaluation mode."""
        super().train(mode)
        self._freeze()  # here too: `from_pretrained` puts new parameters in place, then calls `eval`
        return self

    def extract_regions(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """
        The features of the regions of images.

        Args:
            pixel_values (`torch.Tensor` of shape `(batch, channels, height, width)`): The images.

        Returns:
            `torch.Tensor` of shape `(batch, regions, region_size)`: The grid, row by row.

        Raises:
            ValueError: Where the model has no backbone, or its features are no grid, or not of `region_size`.
        """
        return self._extract(pixel_values)[0]

    def _extract(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, tuple[int, int]]:
        """The features of the regions, and the rows and columns of the grid that they are."""
        if self.backbone is None:
            raise ValueError(
                "This model was made without `backbone_config`: it takes `region_features`, not `pixel_values`."
            )
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.freeze_backbone):
            features = self.backbone(pixel_values=pixel_values.to(self.backbone.dtype)).last_hidden_state
        backbone_config, image_size = self.config.backbone_config, tuple(pixel_values.shape[-2:])
        regions = flatten_grid(features, backbone_config, image_size)
        if regions.shape[-1] != self.config.region_size:
            raise ValueError(
                f"The backbone gives each region {regions.shape[-1]} features, but the configuration says "
                f"`region_size={self.config.region_size}`: leave it out, and it is read off the backbone."
            )
        return regions, grid_shape(features, backbone_config, image_size)

    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        region_features: torch.Tensor | None = None,
        region_mask: torch.Tensor | None = None,
        region_boxes: torch.Tensor | None = None,
        normalize: bool = False,
        return_dict: bool = True,
        **kwargs,
    ) -> EncoderOutput:
        """
        Args:
            pixel_values (`torch.Tensor` of shape `(batch, channels, height, width)`, *optional*):
                The images.
            region_features (`torch.Tensor` of shape `(batch, regions, region_size)`, *optional*):
                Features of their regions, in place of `pixel_values`.
            region_mask (`torch.Tensor` of shape `(batch, regions)`, *optional*):
                1 where a region is real, 0 where it is padding.
            region_boxes (`torch.Tensor` of shape `(batch, regions, 4)`, *optional*):
                Left, top, right, bottom of each region, as shares of width and height. Needed with `box_positions` and
                `region_features`; those of a grid are known.
            normalize (`bool`, *optional*, defaults to `False`):
                Whether each region's features are first scaled to length 1.

        Returns:
            [`EncoderOutput`]

        Raises:
            ValueError: Where not exactly one of `pixel_values` and `region_features` is given, a shape is wrong, or
                all regions of an image are masked.
        """
        if (pixel_values is None) == (region_features is None):
            raise ValueError("Pass exactly one of `pixel_values` and `region_features`.")
        if region_features is None:
            region_features, grid = self._extract(pixel_values)
            if self.box_projection is not None and region_boxes is None:
                region_boxes = grid_boxes(*grid).to(region_features.device).expand(region_features.shape[0], -1, -1)
        if region_features.ndim != 3 or region_features.shape[-1] != self.config.region_size:
            raise ValueError(
                f"`region_features` must have shape (batch, regions, {self.config.region_size}), "
                f"got {tuple(region_features.shape)}."
            )
        batch, regions = region_features.shape[:2]
        if region_mask is not None and region_mask.shape != (batch, regions):
            raise ValueError(f"`region_mask` must have shape {(batch, regions)}, got {tuple(region_mask.shape)}.")
        if region_boxes is not None and region_boxes.shape != (batch, regions, 4):
            raise ValueError(f"`region_boxes` must have shape {(batch, regions, 4)}, got {tuple(region_boxes.shape)}.")
        if region_mask is not None and not is_recording() and not (has_region := region_mask.bool().any(1)).all():
            rows = (~has_region).nonzero().flatten().tolist()
            raise ValueError(f"The images {rows} of the batch are masked as a whole: there is nothing to attend to.")

        if normalize:
            region_features = F.normalize(region_features, dim=-1)
        if self.config.project_regions:
            # That of the layer norm: the linear map's weight may be quantised.
            region_features = region_features.to(self.projection[2].weight.dtype)
        memory = self.projection(self.region_dropout(region_features))
        if self.position_embedding is not None:
            if regions != self.config.num_regions:
                raise ValueError(
                    f"The image has {regions} regions, but the model has learned {self.config.num_regions} positions: "
                    "resize the image as the model's processor does."
                )
            positions = self.position_embedding(torch.arange(regions, device=memory.device))
            memory = memory + positions.to(memory.device)  # parts of a model may lie on devices of their own
        if self.box_projection is not None:
            if region_boxes is None:
                raise ValueError(
                    "This model was made with `box_positions`: pass `region_boxes` beside `region_features`."
                )
            left, top, right, bottom = region_boxes.unbind(-1)
            area = (right - left) * (bottom - top)
            memory = memory + self.box_projection(torch.cat([region_boxes, area.unsqueeze(-1)], -1).to(memory.dtype))
        output = EncoderOutput(last_hidden_state=memory, memory_mask=region_mask)
        return output if return_dict else output.to_tuple()
