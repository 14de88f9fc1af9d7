"""What the tasks with images share: a vision backbone, or a model that has one already."""

from dataclasses import dataclass, field
from typing import Annotated

from transformers import AutoConfig, PreTrainedConfig

from ...arguments import NOT_NEGATIVE
from ...models.backbones import infer_region_shape
from ...models.image_sizes import check_image_size
from ..data.images import load_backbone_config
from .pretrained import PretrainedArguments


@dataclass
class BackboneArguments(PretrainedArguments):
    """Where a model comes from: a vision backbone, or a model trained before."""

    backbone: str | None = field(default=None, metadata={"help": "Name or folder of a pretrained vision model."})
    backbone_config: str | None = field(
        default=None, metadata={"help": "Instead: configuration (folder or file) of one trained from scratch."}
    )
    train_backbone: bool = field(
        default=False,
        metadata={"help": "Train a pretrained backbone too, but for its batch norms' statistics; else it is frozen."},
    )
    backbone_learning_rate: Annotated[float | None, NOT_NEGATIVE] = field(
        default=None, metadata={"help": "Default: 1e-5 where pretrained, learning_rate where from scratch."}
    )
    backbone_layers: list[int] | None = field(
        default=None,
        metadata={
            "help": "Which of the backbone's hidden states each region has the features of, beside those of the last "
            "feature map."
        },
    )
    learned_positions: bool = field(
        default=True, metadata={"help": "Add a learned vector to each region; binds the model to one image size."}
    )

    def __post_init__(self):
        super().__post_init__()
        if [self.backbone, self.backbone_config, self.model_name_or_path].count(None) != 2:
            raise ValueError(
                "Give either `backbone` (pretrained), `backbone_config` (from scratch), or `model_name_or_path` (a "
                "trained model)."
            )
        if self.backbone_config is not None:
            self.train_backbone = True
        elif self.train_backbone and self.backbone_learning_rate is None:
            self.backbone_learning_rate = 1e-5
        elif not self.train_backbone and self.backbone_learning_rate is not None:
            raise ValueError("`backbone_learning_rate` needs `train_backbone`.")

    def new_config(self) -> PreTrainedConfig | None:
        """The configuration of a backbone trained from scratch."""
        return None if self.backbone_config is None else AutoConfig.from_pretrained(self.backbone_config)

    def check_backbone(self, image_size: int | None) -> None:
        """
        Args:
            image_size (`int`, *optional*): To which images are to be resized.

        Raises:
            ValueError: Where a new model's backbone does not take such images, or lacks a layer.
        """
        if self.model_name_or_path is not None or (image_size is None and self.backbone_layers is None):
            return
        config = self.new_config() or load_backbone_config(self.backbone)
        if image_size is not None:
            check_image_size("image_size", config, (image_size, image_size))
        if self.backbone_layers is not None:
            infer_region_shape(config, self.backbone_layers)

    def freezing(self) -> dict[str, bool]:
        """What of the backbone stays as it is, as fields of a model's configuration."""
        return {"freeze_backbone": not self.train_backbone, "freeze_batch_norms": self.backbone_config is None}

    def learning_rates(self, prefix: str) -> dict[str, float] | None:
        """
        The backbone's own learning rate, for [`~hf_attention.training.loop.train.train`].

        Args:
            prefix (`str`):
                What the names of the backbone's parameters begin with.
        """
        return None if self.backbone_learning_rate is None else {prefix: self.backbone_learning_rate}
