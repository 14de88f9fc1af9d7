"""Which examples make up each batch: those of similar length."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler


def bucketed_batches(
    rng: np.random.Generator, lengths: Sequence[int | tuple[int, ...]], batch_size: int, bucket_batches: int
) -> Iterator[list[int]]:
    """
    Batches of examples of similar length, in random order.

    Args:
        rng (`np.random.Generator`):
            Draws the order.
        lengths (`Sequence[int]`, or of `tuple[int, ...]`):
            Length of each example; of several lengths, a later one counts where the earlier ones are equal.
        batch_size (`int`):
            Examples of a batch.
        bucket_batches (`int`):
            Batches among which examples are sorted by length; 1 leaves the order random.

    Yields:
        `list[int]`: The numbers of the examples of a batch.
    """
    order = rng.permutation(len(lengths)).tolist()
    window = batch_size * bucket_batches
    batches = []
    for start in range(0, len(order), window):
        bucket = sorted(order[start : start + window], key=lengths.__getitem__)
        batches.extend(bucket[i : i + batch_size] for i in range(0, len(bucket), batch_size))
    for i in rng.permutation(len(batches)):
        yield batches[i]


class _EpochBatchSampler(Sampler[list]):
    """Batches whose order depends on seed and epoch alone."""

    drop_last = False

    def __init__(self, examples_per_batch: int, bucket_batches: int, seed: int):
        # Not `batch_size`: where Accelerate finds that, it drops shorter batches that are not the last.
        self.examples_per_batch = examples_per_batch
        self.bucket_batches = bucket_batches
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of the epoch `epoch`."""
        self.epoch = epoch


class LengthBatchSampler(_EpochBatchSampler):
    """
    Batches of examples of similar length; every example is used once an epoch. A recurrent decoder takes as many
    steps as the longest target of the batch. The order depends on seed and epoch alone.

    Args:
        lengths (`Sequence[int]`, or of `tuple[int, ...]`):
            Length or lengths of each example, in tokens.
        examples_per_batch (`int`):
            Examples of a batch.
        bucket_batches (`int`, *optional*, defaults to 20):
            Batches among which examples are sorted by length; 1 leaves the order random.
        seed (`int`, *optional*, defaults to 0):
            Seed of the order.
    """

    def __init__(
        self,
        lengths: Sequence[int | tuple[int, ...]],
        examples_per_batch: int,
        bucket_batches: int = 20,
        seed: int = 0,
    ):
        if examples_per_batch < 1:
            raise ValueError(f"`examples_per_batch` must be at least 1, got {examples_per_batch}.")
        super().__init__(examples_per_batch, bucket_batches, seed)
        self.lengths = lengths

    def __len__(self) -> int:
        return math.ceil(len(self.lengths) / self.examples_per_batch)

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        yield from bucketed_batches(rng, self.lengths, self.examples_per_batch, self.bucket_batches)


class CaptionGroup(NamedTuple):
    """
    An image with those of its captions that share a batch.

    Args:
        image (`int`):
            Number of the image.
        captions (`tuple[int, ...]`):
            Numbers of its captions.
        mirrored (`bool`):
            Whether the image is mirrored.
        crop (`int`, *optional*, defaults to 0):
            Which of its random crops is shown, counted from 1; 0: the whole image.
    """

    image: int
    captions: tuple[int, ...]
    mirrored: bool
    crop: int = 0


class CaptionBatchSampler(_EpochBatchSampler):
    """
    Batches of images with several of their captions each; every caption is used once an epoch.

    The groups of an image's captions are drawn anew each epoch. Groups of similar length come together: a recurrent
    decoder takes as many steps as the longest caption of the batch. The order depends on seed and epoch alone.

    Args:
        lengths (`Sequence[Sequence[int]]`):
            Length of each caption of each image, in tokens.
        images_per_batch (`int`):
            Groups of a batch.
        captions_per_image (`int`, *optional*, defaults to 1):
            Captions of a group, at most.
        mirror (`bool`, *optional*, defaults to `False`):
            Whether half of the groups show their image mirrored.
        crops (`int`, *optional*, defaults to 0):
            Random crops that an image has; a group shows one of them or the whole image, each as often.
        bucket_batches (`int`, *optional*, defaults to 20):
            Batches among which groups are sorted by length; 1 leaves the order random.
        seed (`int`, *optional*, defaults to 0):
            Seed of the order.
    """

    def __init__(
        self,
        lengths: Sequence[Sequence[int]],
        images_per_batch: int,
        captions_per_image: int = 1,
        mirror: bool = False,
        crops: int = 0,
        bucket_batches: int = 20,
        seed: int = 0,
    ):
        for name, value in (("images_per_batch", images_per_batch), ("captions_per_image", captions_per_image)):
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}.")
        super().__init__(images_per_batch, bucket_batches, seed)
        self.lengths = lengths
        self.captions_per_image = captions_per_image
        self.mirror = mirror
        self.crops = crops

    def __len__(self) -> int:
        groups = sum(math.ceil(len(captions) / self.captions_per_image) for captions in self.lengths)
        return math.ceil(groups / self.examples_per_batch)

    def __iter__(self) -> Iterator[list[CaptionGroup]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        groups = []
        for image, lengths in enumerate(self.lengths):
            order = rng.permutation(len(lengths)).tolist()
            for start in range(0, len(order), self.captions_per_image):
                captions = tuple(order[start : start + self.captions_per_image])
                mirrored = self.mirror and rng.random() < 0.5
                crop = int(rng.integers(self.crops + 1)) if self.crops else 0
                groups.append(CaptionGroup(image, captions, mirrored, crop))
        longest = [max(self.lengths[group.image][caption] for caption in group.captions) for group in groups]
        for batch in bucketed_batches(rng, longest, self.examples_per_batch, self.bucket_batches):
            yield [groups[i] for i in batch]
