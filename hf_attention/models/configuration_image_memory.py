"""Configuration of the models that look at regions of an image."""

from typing import Annotated, Any, ClassVar

from transformers import AutoConfig

from .configuration_attention import SHARE, SIZE, AttentionDecoderConfig
from .versions import PreTrainedConfig, strict


def part_config(name: str, config: PreTrainedConfig | dict[str, Any] | None) -> PreTrainedConfig | None:
    """
    The configuration of a model that is part of another.

    Args:
        name (`str`): The field that holds it.
        config (`PreTrainedConfig` or `dict`, *optional*): The configuration, or its fields.

    Raises:
        ValueError: Where the fields do not say of which model they are.
    """
    if not isinstance(config, dict):
        return config
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        raise ValueError(f"`{name}` must say its `model_type`, such as 'vit' or 'bert', got {config}.")
    return AutoConfig.for_model(model_type, **{name: value for name, value in config.items() if name != "model_type"})


@strict
class ImageMemoryConfig(AttentionDecoderConfig):
    r"""
    Base configuration of the models whose memory is made of an image: the grid of regions of a vision backbone, or
    region features computed before.

    The arguments of [`AttentionDecoderConfig`], and

    Args:
        backbone_config (`PreTrainedConfig` or `dict`, *optional*):
            Configuration of any vision model that `AutoModel` gives. `None`: the model takes `region_features` only.
        backbone_layers (`list[int]`, *optional*):
            Which of the backbone's `hidden_states` each region has the features of, beside those of the last layer:
            averaged over its share of a finer feature map, and layer-normed. Not those of transformers that halve
            their grid, such as Swin.
        region_size (`int`, *optional*):
            Number of features of a region. Read off the backbone where there is one.
        num_regions (`int`, *optional*):
            Where given, each of so many regions has a learned position, added to its memory.
        box_positions (`bool`, *optional*, defaults to `False`):
            Whether a linear map of the regions' boxes and their area is added to the memory: of the grid's cells, or
            of the `region_boxes` that are passed.
        project_regions (`bool`, *optional*, defaults to `True`):
            Whether regions become memory through a linear map, a ReLU and a layer norm. `False` attends to the
            features as they are, with `memory_size` equal to `region_size`.
        freeze_backbone (`bool`, *optional*, defaults to `True`):
            Whether the backbone starts frozen, its batch norms' statistics included. The `requires_grad` that its
            parameters are given later stands, and gradients follow it. A backbone none of whose parameters train stays
            in evaluation mode, and so does a batch norm whose own parameters do not train.
        freeze_batch_norms (`bool`, *optional*, defaults to `False`):
            Whether the batch norms of a backbone that is trained keep their statistics, and use them in training too:
            for a pretrained backbone and small batches. (In transformers, MobileNet's batch norms forget all but the
            last batch: their momentum is TensorFlow's, which counts the other way round.)
        region_dropout (`float`, *optional*, defaults to 0.0):
            Dropout on the region features.
    """

    sub_configs: ClassVar[dict[str, type]] = {"backbone_config": AutoConfig}

    backbone_config: PreTrainedConfig | dict | None = None
    backbone_layers: list[int] | None = None
    region_size: Annotated[int | None, SIZE] = None
    num_regions: Annotated[int | None, SIZE] = None
    box_positions: bool = False
    project_regions: bool = True
    freeze_backbone: bool = True
    freeze_batch_norms: bool = False
    region_dropout: Annotated[float | int, SHARE] = 0.0

    def __post_init__(self, **kwargs):
        self.backbone_config = part_config("backbone_config", self.backbone_config)
        if self.backbone_config is None and self.region_size is None:
            self.region_size = self.memory_size
        self.check_region_size()
        super().__post_init__(**kwargs)

    def check_region_size(self) -> None:
        """Called again by the image encoder, which reads an unknown `region_size` off the backbone."""
        if not self.project_regions and self.region_size not in (None, self.memory_size):
            raise ValueError(
                "`project_regions=False` makes the regions the memory: `region_size` and `memory_size` must be equal, "
                f"got {self.region_size} and {self.memory_size}."
            )
