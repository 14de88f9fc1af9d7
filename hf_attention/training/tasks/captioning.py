"""What training a captioner adds to the loop: its images, its examples, and validation by generated captions."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import BaseImageProcessor, PreTrainedModel, PreTrainedTokenizerFast

from ...metrics.captioning.captioning import caption_metrics
from ...models.pictures import as_rgb
from ..arguments import CaptionDataArguments
from ..data.collators import CaptionCollator, stack_inputs
from ..data.reading import read_image
from ..data.sampling import CaptionBatchSampler, CaptionGroup
from ..loop.evaluation import texts_of_rows


logger = logging.getLogger(__name__)


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

    def inputs(self, row: int, mirrored: bool = False) -> dict[str, torch.Tensor]:
        """The model's input for one image: `pixel_values` (channels, height, width)."""
        image = as_rgb(read_image(self.dataset, row, self.column))
        pixel_values = self.image_processor(images=image, return_tensors="pt")["pixel_values"][0]
        return {"pixel_values": pixel_values.flip(-1) if mirrored else pixel_values}


class RegionSource:
    """
    The images of a split as stored `region_features`.

    Args:
        features (`np.ndarray`):
            (images, regions, region_size), see [`stored_region_features`].
        mirrored (`np.ndarray`, *optional*):
            The same of the mirrored images.
    """

    def __init__(self, features: np.ndarray, mirrored: np.ndarray | None = None):
        self.features = features
        self.mirrored = mirrored

    def __len__(self) -> int:
        return len(self.features)

    def inputs(self, row: int, mirrored: bool = False) -> dict[str, torch.Tensor]:
        """The model's input for one image: `region_features` (regions, region_size)."""
        return {"region_features": torch.from_numpy(np.array((self.mirrored if mirrored else self.features)[row]))}


class CaptionDataset(torch.utils.data.Dataset):
    """
    Examples for [`CaptionCollator`], by [`CaptionGroup`].

    Args:
        source ([`PixelSource`] or [`RegionSource`]):
            The images.
        labels (`Sequence[Sequence[list[int]]]`):
            The token ids of each caption of each image.
        weights (`Sequence[Sequence[float]]`, *optional*):
            What each caption's loss counts.
    """

    def __init__(
        self,
        source: PixelSource | RegionSource,
        labels: Sequence[Sequence[list[int]]],
        weights: Sequence[Sequence[float]] | None = None,
    ):
        self.source = source
        self.labels = labels
        self.weights = weights

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, group: CaptionGroup) -> dict[str, Any]:
        labels = [self.labels[group.image][caption] for caption in group.captions]
        example = {**self.source.inputs(group.image, group.mirrored), "labels": labels}
        if self.weights is not None:
            example["label_weights"] = [self.weights[group.image][caption] for caption in group.captions]
        return example


def caption_labels(
    captions: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerFast, max_length: int
) -> list[list[list[int]]]:
    """
    The token ids of each image's captions, closed by `</s>`; longer captions lose their end, and are counted in a
    warning.
    """
    labels = [tokenizer(texts)["input_ids"] for texts in captions]
    num_cut = sum(len(ids) > max_length for texts in labels for ids in texts)
    if num_cut:
        logger.warning(
            "%d of %d captions are longer than `max_target_length`, %d tokens: they lose their end.",
            num_cut,
            sum(map(len, labels)),
            max_length,
        )
    return [
        [ids if len(ids) <= max_length else [*ids[: max_length - 1], ids[-1]] for ids in texts] for texts in labels
    ]


def caption_dataloader(
    source: PixelSource | RegionSource,
    labels: Sequence[Sequence[list[int]]],
    arguments: CaptionDataArguments,
    seed: int,
    num_workers: int = 0,
    weights: Sequence[Sequence[float]] | None = None,
) -> DataLoader:
    """The batches of training, see [`CaptionDataset`], [`CaptionBatchSampler`] and [`CaptionCollator`]."""
    sampler = CaptionBatchSampler(
        [[len(ids) for ids in texts] for texts in labels],
        images_per_batch=arguments.images_per_batch,
        captions_per_image=arguments.captions_per_image,
        mirror=arguments.mirror,
        bucket_batches=arguments.bucket_batches,
        seed=seed,
    )
    dataset = CaptionDataset(source, labels, weights)
    return DataLoader(dataset, batch_sampler=sampler, collate_fn=CaptionCollator(), num_workers=num_workers)


class CaptionEvaluator:
    """
    Generates a caption for every image of a split and scores it, over all processes.

    Args:
        source ([`PixelSource`] or [`RegionSource`]):
            The images.
        references (`Sequence[Sequence[str]]`):
            The captions of each.
        tokenizer (`PreTrainedTokenizerFast`):
            Decodes what is generated.
        accelerator (`Accelerator`):
            Processes, device and precision.
        batch_size (`int`, *optional*, defaults to 100):
            Images at a time.
    """

    def __init__(
        self,
        source: PixelSource | RegionSource,
        references: Sequence[Sequence[str]],
        tokenizer: PreTrainedTokenizerFast,
        accelerator: Accelerator,
        batch_size: int = 100,
    ):
        self.source = source
        self.references = references
        self.tokenizer = tokenizer
        self.accelerator = accelerator
        self.batch_size = batch_size

    @torch.no_grad()
    def captions(self, model: PreTrainedModel, **generate_kwargs) -> list[str]:
        """The generated captions, in the order of the images; `generate_kwargs` go to `model.generate`."""
        accelerator = self.accelerator

        def texts_of_batch(rows: list[int]) -> list[str]:
            inputs = stack_inputs([self.source.inputs(row) for row in rows])
            inputs = {name: value.to(accelerator.device) for name, value in inputs.items()}
            with accelerator.autocast():
                sequences = model.generate(**inputs, **generate_kwargs)
            return self.tokenizer.batch_decode(sequences, skip_special_tokens=True)

        return texts_of_rows(range(len(self.source)), texts_of_batch, accelerator, self.batch_size, "captions")

    def __call__(self, model: PreTrainedModel, **generate_kwargs) -> dict[str, float]:
        """The scores of the generated captions, see [`caption_metrics`]."""
        return caption_metrics(self.captions(model, **generate_kwargs), self.references)
