"""Images, or features of their regions, as the memory that a decoder attends to."""

import torch
from torch import nn
from torch.nn import functional as F
from transformers.utils import ModelOutput

from .arguments import refuse_unknown
from .backbones import (
    grid_boxes,
    grid_shape,
    infer_region_shape,
    lay_out_pixels,
    make_backbone,
    make_regions,
    usual_image_size,
    weights_dtype,
)
from .freezing import StartsFrozen
from .image_sizes import check_image_size, check_padding
from .outputs import EncoderOutput
from .recording import is_recording


class ImageEncoder(StartsFrozen):
    """
    Turns pixel values, or region features computed before, into a memory.

    Args:
        config ([`ImageMemoryConfig`]): The configuration. An unknown `region_size` is filled in.
    """

    main_input_name = "pixel_values"
    part_name = "backbone"
    freezing_field = "freeze_backbone"

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.backbone = None
        if config.backbone_layers and config.backbone_config is None:
            raise ValueError("`backbone_layers` are of a backbone: give `backbone_config`, or leave them out.")
        if config.backbone_config is not None:
            if config.region_size is None:
                config.region_size = infer_region_shape(config.backbone_config, config.backbone_layers or ())[1]
                config.check_region_size()
            self.backbone = make_backbone(config.backbone_config)
            self.sizes_taken = {usual_image_size(config.backbone_config)}
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
        self.freeze()

    def keeps_statistics(self, batch_norm: nn.Module) -> bool:
        return self.config.freeze_batch_norms or super().keeps_statistics(batch_norm)

    def extract_regions(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """
        The features of the regions of images.

        Args:
            pixel_values (`torch.Tensor` of shape `(batch, channels, height, width)`): The images.

        Returns:
            `torch.Tensor` of shape `(batch, regions, region_size)`: The grid, row by row.

        Raises:
            ValueError: Where the model has no backbone, or this does not take images of that size, or its features
                are no grid, or not of `region_size`.
        """
        return self._extract(pixel_values)[0]

    def as_regions(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        """
        What stands for images at `forward`: their `region_features` and, where it needs them, `region_boxes`.

        Args:
            pixel_values (`torch.Tensor` of shape `(batch, channels, height, width)`): The images.

        Returns:
            `dict[str, torch.Tensor]`: The arguments, each with a row an image.

        Raises:
            ValueError: As `extract_regions` does.
        """
        features, grid, _ = self._extract(pixel_values)
        inputs = {"region_features": features}
        if self.box_projection is not None:
            inputs["region_boxes"] = grid_boxes(*grid).to(features.device).expand(len(features), -1, -1)
        return inputs

    def _extract(
        self, pixel_values: torch.Tensor, output_hidden_states: bool = False
    ) -> tuple[torch.Tensor, tuple[int, int], tuple[torch.Tensor, ...] | None]:
        """
        The features of the regions, the rows and columns of the grid that they are, and the backbone's hidden states.
        """
        if self.backbone is None:
            raise ValueError(
                "This model was made without `backbone_config`: it takes `region_features`, not `pixel_values`."
            )
        layers = self.config.backbone_layers or ()
        wanted = {"output_hidden_states": True} if output_hidden_states or layers else {}
        outputs = self._look(pixel_values, **wanted)
        backbone_config, image_size = self.config.backbone_config, tuple(pixel_values.shape[-2:])
        regions = make_regions(outputs, backbone_config, image_size, layers)
        if regions.shape[-1] != self.config.region_size:
            raise ValueError(
                f"The backbone gives each region {regions.shape[-1]} features, but the configuration says "
                f"`region_size={self.config.region_size}`: leave it out, and it is read off the backbone."
            )
        grid = grid_shape(outputs.last_hidden_state, backbone_config, image_size)
        return regions, grid, outputs.get("hidden_states")

    def _look(self, pixel_values: torch.Tensor, **kwargs) -> ModelOutput:
        """What the backbone makes of images; a size that it does not take is named."""
        pixels = lay_out_pixels(pixel_values.to(weights_dtype(self.backbone)))
        if is_recording():
            return self.backbone(pixel_values=pixels, **kwargs)
        backbone_config, image_size = self.config.backbone_config, tuple(pixel_values.shape[-2:])
        check_padding("pixel_values", backbone_config, image_size)
        if hasattr(backbone_config, "window_size") and image_size not in self.sizes_taken:
            # Swin does not recover from an image that is smaller than its windows.
            check_image_size("pixel_values", backbone_config, image_size)
            self.sizes_taken.add(image_size)
        try:
            return self.backbone(pixel_values=pixels, **kwargs)
        except (RuntimeError, ValueError):
            check_image_size("pixel_values", backbone_config, image_size)
            raise

    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        region_features: torch.Tensor | None = None,
        region_mask: torch.Tensor | None = None,
        region_boxes: torch.Tensor | None = None,
        normalize: bool = False,
        output_hidden_states: bool = False,
        return_dict: bool = True,
        **kwargs,
    ) -> EncoderOutput | tuple:
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
            output_hidden_states (`bool`, *optional*, defaults to `False`):
                Whether to return what the backbone gives as its own, or the features of the regions where it gives
                none or there is none, and the memory.

        Returns:
            [`EncoderOutput`]

        Raises:
            ValueError: Where not exactly one of `pixel_values` and `region_features` is given, a shape is wrong, or
                all regions of an image are masked.
        """
        refuse_unknown(kwargs)
        if (pixel_values is None) == (region_features is None):
            raise ValueError("Pass exactly one of `pixel_values` and `region_features`.")
        hidden_states = None
        if region_features is None:
            region_features, grid, hidden_states = self._extract(pixel_values, output_hidden_states)
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

        if output_hidden_states and hidden_states is None:
            hidden_states = (region_features,)
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
            boxes = self.box_projection(torch.cat([region_boxes, area.unsqueeze(-1)], -1).to(memory.dtype))
            memory = memory + boxes.to(memory.device)
        hidden_states = (*hidden_states, memory) if output_hidden_states else None
        output = EncoderOutput(last_hidden_state=memory, memory_mask=region_mask, hidden_states=hidden_states)
        return output if return_dict else output.all_fields()
