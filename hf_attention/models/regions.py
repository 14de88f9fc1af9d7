"""Which rectangle of the original image each region covers."""

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import torch
from PIL import Image, ImageOps
from transformers import BaseImageProcessor, PreTrainedConfig

from .backbones import grid_shape, infer_outputs, patch_size


# Below so many pixels a side, too few of them lie away from the edges to measure by; above, time is lost.
_SHORTEST_PROBE = 64
_LARGEST_PROBE = 4_000_000
# Larger images are measured by small ones of their shape, whose shorter side is about so long.
_LARGE = 500_000
_SMALL_SIDE = 256


@dataclass(frozen=True)
class Placement:
    """
    Where an image lies in the pixel values that an image processor made of it.

    Args:
        image_size (`tuple[int, int]`): Width and height of the image.
        shape (`tuple[int, int]`): Height and width of the pixel values.
        origin (`tuple[int, int]`):
            Where the image's left and top edge lie in the pixel values: negative where they were cropped away.
        extent (`tuple[int, int]`): Width and height of the whole image in the pixel values, cropped parts included.
    """

    image_size: tuple[int, int]
    shape: tuple[int, int]
    origin: tuple[int, int]
    extent: tuple[int, int]

    def to_image(self, boxes: torch.Tensor) -> torch.Tensor:
        """
        Rectangles of the pixel values as rectangles of the image.

        Args:
            boxes (`torch.Tensor` of shape `(..., 4)`): Left, top, right and bottom in pixel values.

        Returns:
            `torch.Tensor` of shape `(..., 4)`: The same in pixels of the image, cut at its edges: what lies wholly in
            the padding is empty.
        """
        origin = torch.tensor([*self.origin, *self.origin], dtype=boxes.dtype, device=boxes.device)
        scale = boxes.new_tensor([size / length for size, length in zip(self.image_size, self.extent, strict=True)])
        limit = torch.tensor([*self.image_size, *self.image_size], dtype=boxes.dtype, device=boxes.device)
        return ((boxes - origin) * scale.repeat(2)).clamp(min=torch.zeros_like(limit), max=limit)


class ImageRegions:
    """
    Tells where the regions of images lie, for one model and its image processor.

    What the image processor does is measured and not read off its settings: it is given ramps of grey of the image's
    size, or smaller ones of its shape. So whatever resizes, crops and pads along the axes is understood, in whole
    pixels, and anything else refused.

    Args:
        config (`PreTrainedConfig`):
            Of a captioner or an answering model with a backbone, or of an ensemble of captioners.
        image_processor ([`~transformers.BaseImageProcessor`]):
            The model's.

    Raises:
        ValueError: Where the model has no backbone.
    """

    def __init__(self, config: PreTrainedConfig, image_processor: BaseImageProcessor):
        self.backbone_config = _backbone_config(config)
        if self.backbone_config is None:
            raise ValueError(
                f"A model of type {config.model_type!r} without `backbone_config` does not make regions of an image."
            )
        self.image_processor = image_processor
        self._placements: dict[tuple[int, int], Placement] = {}
        self._grids: dict[tuple[int, int], tuple[int, int]] = {}

    @classmethod
    def of(cls, config: PreTrainedConfig, image_processor: BaseImageProcessor) -> "ImageRegions | None":
        """As the constructor, or `None` where the model makes no regions of an image."""
        return None if _backbone_config(config) is None else cls(config, image_processor)

    def __call__(self, image: Image.Image | tuple[int, int]) -> tuple[torch.Tensor, tuple[int, int]]:
        """
        Args:
            image (`PIL.Image.Image` or `tuple[int, int]`):
                An image, which is turned as its EXIF says, or its width and height.

        Returns:
            `tuple`: left, top, right and bottom of each region in pixels of the image, a `torch.FloatTensor` of shape
            `(regions, 4)`, and rows and columns of the grid, which runs row by row. Of a vision transformer the
            rectangle is the patch; of a convolutional network, in which a region sees its surroundings, its share of
            the pixel values. A region in the padding has an empty rectangle.

        Raises:
            ValueError: Where the image processor does something else than resize, crop and pad along the axes.
        """
        size = image if isinstance(image, tuple) else ImageOps.exif_transpose(image).size
        if size not in self._placements:
            self._placements[size] = measure_placement(self.image_processor, size)
        placement = self._placements[size]
        if placement.shape not in self._grids:
            features = infer_outputs(self.backbone_config, placement.shape).last_hidden_state
            self._grids[placement.shape] = grid_shape(features, self.backbone_config, placement.shape)
        rows, columns = self._grids[placement.shape]
        cell = patch_size(self.backbone_config)
        height, width = cell or (placement.shape[0] / rows, placement.shape[1] / columns)
        x, y = torch.arange(columns) * width, torch.arange(rows) * height
        top, left = torch.meshgrid(y, x, indexing="ij")
        boxes = torch.stack([left, top, left + width, top + height], -1).flatten(0, 1).double()
        return placement.to_image(boxes).float(), (rows, columns)


def _backbone_config(config: PreTrainedConfig) -> PreTrainedConfig | None:
    if config.model_type == "attention_ensemble":  # its members look at the same regions
        config = config.member_configs()[0]
    return getattr(config, "backbone_config", None) if hasattr(config, "box_positions") else None


def boxes_in_pixels(region_boxes: torch.Tensor, image_size: tuple[int, int]) -> torch.Tensor:
    """
    Boxes that were given to a model, in pixels.

    Args:
        region_boxes (`torch.Tensor` of shape `(..., 4)`):
            Left, top, right, bottom, as shares of width and height: the `region_boxes` of a model.
        image_size (`tuple[int, int]`):
            Width and height of the image.

    Returns:
        `torch.Tensor` of shape `(..., 4)`: Left, top, right, bottom in pixels.
    """
    if region_boxes.shape[-1:] != (4,):
        raise ValueError(f"`region_boxes` must have shape (..., 4), got {tuple(region_boxes.shape)}.")
    return region_boxes * region_boxes.new_tensor([*image_size, *image_size])


def measure_placement(image_processor: BaseImageProcessor, image_size: tuple[int, int]) -> Placement:
    """
    Where images of a size lie in the pixel values that an image processor makes of them.

    Args:
        image_processor ([`~transformers.BaseImageProcessor`]): Any that gives `pixel_values`.
        image_size (`tuple[int, int]`): Width and height of the image.

    Returns:
        [`Placement`]

    Raises:
        ValueError: Where it does something else than resize, crop and pad along the axes.
    """
    width, height = image_size
    if width < 1 or height < 1:
        raise ValueError(f"`image_size` must be (width, height) of at least one pixel, got {image_size}.")
    if width * height > _LARGE:
        small = _small_image_of_the_shape(width, height)
        if 4 * small[0] * small[1] <= min(width * height, _LARGEST_PROBE):
            placement = _measure(image_processor, small)
            twice = _measure(image_processor, (2 * small[0], 2 * small[1]))
            # Where the size of an image makes no difference, but only its shape, the large one lies there too.
            if replace(twice, image_size=small) == placement:
                return replace(placement, image_size=image_size)
    return _measure(image_processor, image_size)


def _small_image_of_the_shape(width: int, height: int) -> tuple[int, int]:
    ratio = Fraction(max(width, height), min(width, height)).limit_denominator(_SMALL_SIDE)
    times = _SMALL_SIDE // ratio.denominator
    longer, shorter = ratio.numerator * times, ratio.denominator * times
    return (longer, shorter) if width > height else (shorter, longer)


def _measure(image_processor: BaseImageProcessor, image_size: tuple[int, int]) -> Placement:
    width, height = image_size
    across = down = -(-_SHORTEST_PROBE // min(image_size))
    if across * down * width * height > _LARGEST_PROBE:  # a thin one: its short side alone
        across, down = -(-_SHORTEST_PROBE // width), -(-_SHORTEST_PROBE // height)
    x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    slant = (x + y) / 2
    placed, probe_size = _process(image_processor, slant), image_size
    if max(across, down) > 1 and across * down * width * height <= _LARGEST_PROBE:
        # Enlarged, the image gives the same, up to a pixel, where it is resized; else it is measured as it is.
        enlarged = _process(image_processor, slant.repeat(down, 0).repeat(across, 1))
        if enlarged.shape == placed.shape:
            contrast = np.ptp(_process(image_processor, np.arange(2.0).repeat(32)[None].repeat(64, 0)))
            if np.abs(enlarged - placed).max() < contrast * 0.75 / min(image_size):
                probe_size = (width * across, height * down)
    (left, placed_width), (top, placed_height) = _Probe(image_processor, probe_size).measure()
    return Placement(image_size, placed.shape, (left, top), (placed_width, placed_height))


class _Probe:
    """Measures by ramps of grey, which resizing leaves ramps."""

    def __init__(self, image_processor: BaseImageProcessor, image_size: tuple[int, int]):
        self.image_processor = image_processor
        self.image_size = image_size
        self.black, self.white = (_process(image_processor, np.full(image_size[::-1], level)) for level in (0.0, 1.0))
        contrast = np.abs(self.white - self.black)
        self.is_image = contrast > 0.5 * contrast.max()  # the rest is padding

    def measure(self) -> list[tuple[int, int]]:
        """Origin and extent of the image along x, and along y."""
        return [self._measure_axis(axis) for axis in (0, 1)]

    def _measure_axis(self, axis: int) -> tuple[int, int]:
        length = self.image_size[axis]
        inside = self.is_image.any(axis).nonzero()[0]
        place = self._fit(axis, inside, 0, length)
        if place is not None and place[1] > 2 * len(inside):
            # Most was cropped away: all levels of grey for what was not.
            ends = [(edge - place[0]) * length / place[1] for edge in (inside[0], inside[-1] + 1)]
            margin = (ends[1] - ends[0]) / 8
            place = self._fit(axis, inside, max(int(ends[0] - margin), 0), min(int(ends[1] + margin) + 1, length))
        if place is None:
            raise ValueError(
                f"Where the regions lie cannot be told: {type(self.image_processor).__name__} does something else "
                f"with an image of {'x'.join(map(str, self.image_size))} pixels than to resize, crop and pad it along "
                "its axes."
            )
        return place

    def _fit(self, axis: int, inside: np.ndarray, start: int, stop: int) -> tuple[int, int] | None:
        """Origin and extent by a ramp between two pixels of the image; `None` where what came of it is no ramp."""
        length, rising = self.image_size[axis], stop - start
        # Whole levels, each for a whole number of pixels: rounded ones would make a ramp of another slope.
        pixels, levels = -(-rising // 256), max(255 // rising, 1)
        ramp = np.clip((np.arange(length) - start) // pixels, 0, (rising - 1) // pixels) * levels / 255
        page = np.ones(self.image_size[::-1]) * (ramp if axis == 0 else ramp[:, None])
        share = np.zeros_like(self.black)
        np.divide(
            _process(self.image_processor, page) - self.black, self.white - self.black, share, where=self.is_image
        )
        level = 255 * share.sum(axis)[inside] / self.is_image.sum(axis)[inside]
        position = start + pixels * (level / levels + 0.5)  # from where in the image each column or row comes
        middle = inside + 0.5
        # Near the edges resampling bends the ramp.
        is_straight = np.abs(position - (start + stop) / 2) < 0.44 * rising
        if is_straight.sum() < 2:  # too few pixels to measure by, so they must be the whole image
            origin, extent, is_straight = int(inside[0]), len(inside), np.ones_like(is_straight)
        else:
            slope, offset = np.polyfit(middle[is_straight], position[is_straight], 1)
            if slope < 1e-6 * length:  # flat, or falling
                return None
            origin, extent = round(-offset / slope), max(round(length / slope), 1)
        if not np.array_equal(inside, np.arange(max(origin, 0), min(origin + extent, self.is_image.shape[1 - axis]))):
            return None
        scale = length / extent
        error = np.abs((middle - origin) * scale - position)[is_straight]
        return (origin, extent) if error.max() <= pixels / levels + scale / 2 else None


def _process(image_processor: BaseImageProcessor, grey: np.ndarray) -> np.ndarray:
    """What the processor makes of grey levels from 0 to 1, averaged over channels."""
    image = Image.fromarray(np.rint(255 * grey).astype(np.uint8)).convert("RGB")
    # The channels of so low an image cannot be told from its rows.
    layout = {"input_data_format": "channels_last"} if image.height in (1, 3) else {}
    pixel_values = image_processor(images=image, return_tensors="pt", **layout).get("pixel_values")
    if pixel_values is None or pixel_values.ndim != 4 or len(pixel_values) != 1:
        shape = None if pixel_values is None else tuple(pixel_values.shape)
        raise ValueError(
            f"{type(image_processor).__name__} does not make one picture of an image: its `pixel_values` have the "
            f"shape {shape}, not (1, channels, height, width)."
        )
    return pixel_values[0].double().mean(0).numpy()
