"""What a captioner learns from: images with some of their captions."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerFast

from ...data.collators import CaptionCollator
from ...data.images import PixelSource, RegionSource
from ...data.sampling import CaptionBatchSampler, CaptionGroup
from ...data.tokenization import closed_texts, warn_of_cut
from .arguments import CaptionDataArguments


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
        example = {**self.source.inputs(group.image, group.mirrored, group.crop), "labels": labels}
        if self.weights is not None:
            example["token_weights"] = [self.weights[group.image][caption] for caption in group.captions]
        return example


def caption_labels(
    captions: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerFast, max_length: int
) -> list[list[list[int]]]:
    """
    The token ids of each image's captions, closed; longer captions lose their end, and are counted in a warning.
    """
    labels = [closed_texts(tokenizer, texts) for texts in captions]
    warn_of_cut([len(ids) for texts in labels for ids in texts], max_length, "captions", "max_target_length")
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
        crops=arguments.crops,
        bucket_batches=arguments.bucket_batches,
        seed=seed,
    )
    dataset = CaptionDataset(source, labels, weights)
    return DataLoader(dataset, batch_sampler=sampler, collate_fn=CaptionCollator(), num_workers=num_workers)
