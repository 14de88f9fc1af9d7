"""The images of a training script: their processor, and as pixels or as stored features."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from datasets import Dataset
from huggingface_hub.constants import HF_HOME
from torch import nn
from transformers import AutoConfig, BaseImageProcessor, PreTrainedConfig

from ...models.pictures import layout_of
from ...models.versions import AutoImageProcessor, pillow_image_processor
from .crops import random_crop
from .features import stored_region_features
from .image_columns import read_image


class PixelSource:
    """
    The images of a split as `pixel_values`, decoded anew each time.

    Args:
        dataset (`Dataset`):
            The split.
        column (`str`):
            Its column of images.
        image_processor (`BaseImageProcessor`):
            Makes the pixel values.
    """

    def __init__(self, dataset: Dataset, column: str, image_processor: BaseImageProcessor):
        self.dataset = dataset
        self.column = column
        self.image_processor = image_processor

    def __len__(self) -> int:
        return len(self.dataset)

    def inputs(self, row: int, mirrored: bool = False, crop: int = 0) -> dict[str, torch.Tensor]:
        """The model's input for one image, or a crop of it: `pixel_values` (channels, height, width)."""
        image = read_image(self.dataset, row, self.column)
        if crop:
            image = random_crop(image, row, crop)
        pixel_values = self.image_processor(images=image, return_tensors="pt", **layout_of(image))["pixel_values"][0]
        return {"pixel_values": pixel_values.flip(-1) if mirrored else pixel_values}


class RegionSource:
    """
    The images of a split as stored `region_features`.

    Args:
        features (`np.ndarray`):
            (images, regions, region_size), see [`stored_region_features`].
        mirrored (`np.ndarray`, *optional*):
            The same of the mirrored images.
        crops (`Sequence[RegionSource]`, *optional*):
            The same of the images' first crop, of their second, and so on.
        boxes (`torch.Tensor` of shape `(regions, 4)`, *optional*):
            Where the regions of every image are, for a model with `box_positions`.
    """

    def __init__(
        self,
        features: np.ndarray,
        mirrored: np.ndarray | None = None,
        crops: Sequence["RegionSource"] = (),
        boxes: torch.Tensor | None = None,
    ):
        self.features = features
        self.mirrored = mirrored
        self.crops = crops
        self.boxes = boxes

    def __len__(self) -> int:
        return len(self.features)

    def inputs(self, row: int, mirrored: bool = False, crop: int = 0) -> dict[str, torch.Tensor]:
        """
        The model's input for one image, or a crop of it: `region_features` (regions, region_size), and where the model
        needs them `region_boxes`.
        """
        if crop:
            return self.crops[crop - 1].inputs(row, mirrored)
        features = (self.mirrored if mirrored else self.features)[row]
        boxes = {} if self.boxes is None else {"region_boxes": self.boxes}
        return {"region_features": torch.from_numpy(np.array(features)), **boxes}


class PixelsInMemory:
    """
    The pixel values of all images, made once: of small images, and not too many.

    Args:
        dataset (`Dataset`):
            A split.
        column (`str`):
            Its column of images.
        image_processor (`BaseImageProcessor`):
            Makes the pixel values.
    """

    def __init__(self, dataset: Dataset, column: str, image_processor: BaseImageProcessor):
        self.pixel_values = torch.cat(
            [
                image_processor(images=batch[column], return_tensors="pt")["pixel_values"].half()
                for batch in dataset.select_columns(column).iter(500)
            ]
        )

    def __len__(self) -> int:
        return len(self.pixel_values)

    def inputs(self, row: int, mirrored: bool = False, crop: int = 0) -> dict[str, torch.Tensor]:
        """
        The model's input for one image.

        Raises:
            ValueError: If a crop is asked for: the images themselves are not kept.
        """
        if crop:
            raise ValueError(f"`crop` must be 0 where pixel values are in memory, got {crop}.")
        pixel_values = self.pixel_values[row]
        return {"pixel_values": pixel_values.flip(-1) if mirrored else pixel_values}


def load_part_config(name: str, argument: str) -> PreTrainedConfig:
    """
    The configuration of a pretrained model that is to be part of another.

    Args:
        name (`str`): Its name or folder.
        argument (`str`): The option that says it.

    Raises:
        OSError: If there is none, or the Hub cannot be reached.
    """
    try:
        return AutoConfig.from_pretrained(name)
    except OSError as error:
        here = "which" if Path(name).is_dir() else "which is no folder here and"
        raise OSError(f"`{argument}` is {name!r}, {here} does not load: {error}") from error


def load_backbone_config(backbone: str) -> PreTrainedConfig:
    """
    The configuration of a pretrained vision model, or of the vision tower of what has one.

    Args:
        backbone (`str`): Its name or folder.

    Raises:
        OSError: If there is none, or the Hub cannot be reached.
    """
    config = load_part_config(backbone, "backbone")
    return getattr(config, "vision_config", config)


def make_image_processor(backbone: str | None, image_size: int | None) -> BaseImageProcessor:
    """
    The image processor of a pretrained backbone, or a plain one for a backbone from scratch.

    Args:
        backbone (`str`, *optional*):
            Name or folder of the pretrained vision model.
        image_size (`int`, *optional*):
            Resize images straight to this size, without cropping.

    Raises:
        ValueError: If neither is given.
        OSError: If there is no such backbone, or the Hub cannot be reached.
    """
    straight = {}
    if image_size is not None:
        size = {"height": image_size, "width": image_size}
        straight = {"size": size, "crop_size": size, "do_center_crop": False}
    if backbone is not None:
        load_backbone_config(backbone)  # which tells whether there is a network; image processors do not
        return AutoImageProcessor.from_pretrained(backbone, **straight)
    if image_size is None:
        raise ValueError("A backbone from scratch needs `image_size`.")
    return pillow_image_processor("ViTImageProcessor")(size=straight["size"])


@torch.no_grad()
def regions_of_blank(image_encoder: nn.Module, image_processor: BaseImageProcessor) -> dict[str, torch.Tensor]:
    """
    What [`~hf_attention.models.image_encoder.ImageEncoder.as_regions`] makes of a blank image: how many regions there
    are, and where.

    Args:
        image_encoder (`nn.Module`): The encoder.
        image_processor (`BaseImageProcessor`): Makes all images of one size.
    """
    blank = image_processor(images=torch.zeros(3, 64, 64, dtype=torch.uint8), return_tensors="pt")["pixel_values"]
    return image_encoder.as_regions(blank.to(next(image_encoder.backbone.parameters()).device))


def make_source(
    dataset: Dataset,
    column: str,
    encoder: nn.Module,
    image_processor: BaseImageProcessor,
    accelerator: Accelerator,
    mirror: bool = False,
    features_dir: str | Path | None = None,
    crops: int = 0,
) -> PixelSource | RegionSource:
    """
    The images of a split: as stored features where the backbone is frozen.

    Args:
        dataset (`Dataset`):
            The split.
        column (`str`):
            Its column of images.
        encoder (`nn.Module`):
            An [`ImageEncoder`].
        image_processor (`BaseImageProcessor`):
            Makes the pixel values.
        accelerator (`Accelerator`):
            Processes, device and precision.
        mirror (`bool`, *optional*, defaults to `False`):
            Whether mirrored images are needed too.
        features_dir (`str` or `Path`, *optional*):
            Where features are stored; by default under HF_HOME.
        crops (`int`, *optional*, defaults to 0):
            How many random crops of each image are needed too.
    """
    if encoder.trains_part:
        return PixelSource(dataset, column, image_processor)

    def stored(mirrored: bool, crop: int) -> np.memmap:
        with accelerator.main_process_first():
            return stored_region_features(
                dataset,
                column,
                encoder,
                image_processor,
                features_dir or Path(HF_HOME) / "hf_attention" / "region_features",
                mirrored=mirrored,
                crop=crop,
                dtype={"bf16": torch.bfloat16, "fp16": torch.float16}.get(accelerator.mixed_precision, torch.float32),
                device=accelerator.device,
                show_progress=accelerator.is_main_process,
            )

    boxes = None
    if encoder.config.box_positions:
        boxes = regions_of_blank(encoder, image_processor)["region_boxes"][0].cpu()

    def region_source(crop: int, crops: Sequence[RegionSource] = ()) -> RegionSource:
        return RegionSource(stored(False, crop), stored(True, crop) if mirror else None, crops, boxes)

    return region_source(0, [region_source(crop) for crop in range(1, crops + 1)])
