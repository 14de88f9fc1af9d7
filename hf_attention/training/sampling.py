"""Which images and captions make up each batch."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler


class CaptionGroup(NamedTuple):
    """An image with those of its captions that share a batch.

    Args:
        image (`int`): number of the image.
        captions (`tuple[int, ...]`): numbers of its captions.
        mirrored (`bool`): whether the image is mirrored.
    """

    image: int
    captions: tuple[int, ...]
    mirrored: bool


class CaptionBatchSampler(Sampler[list[CaptionGroup]]):
    """Batches of images with several of their captions each; every caption is used once an epoch.

    The groups of an image's captions are drawn anew each epoch. Groups of similar length come together: a recurrent
    decoder takes as many steps as the longest caption of the batch. The order depends on seed and epoch alone.

    Args:
        lengths (`Sequence[Sequence[int]]`): length of each caption of each image, in tokens.
        images_per_batch (`int`): groups of a batch.
        captions_per_image (`int`, *optional*, defaults to 1): captions of a group, at most.
        mirror (`bool`, *optional*, defaults to `False`): whether half of the groups show their image mirrored.
        bucket_batches (`int`, *optional*, defaults to 20):
            Batches among which groups are sorted by length; 1 leaves the order random.
        seed (`int`, *optional*, defaults to 0): seed of the order.
    """

    drop_last = False

    def __init__(
        self,
        lengths: Sequence[Sequence[int]],
        images_per_batch: int,
        captions_per_image: int = 1,
        mirror: bool = False,
        bucket_batches: int = 20,
        seed: int = 0,
    ):
        for name, value in (("images_per_batch", images_per_batch), ("captions_per_image", captions_per_image)):
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}.")
        self.lengths = lengths
        # Not `batch_size`: where Accelerate finds that, it drops shorter batches that are not the last.
        self.images_per_batch = images_per_batch
        self.captions_per_image = captions_per_image
        self.mirror = mirror
        self.bucket_batches = bucket_batches
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of the epoch `epoch`."""
        self.epoch = epoch

    def __len__(self) -> int:
        groups = sum(math.ceil(len(captions) / self.captions_per_image) for captions in self.lengths)
        return math.ceil(groups / self.images_per_batch)

    def __iter__(self) -> Iterator[list[CaptionGroup]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        groups = []
        for image, lengths in enumerate(self.lengths):
            order = rng.permutation(len(lengths)).tolist()
            for start in range(0, len(order), self.captions_per_image):
                captions = tuple(order[start : start + self.captions_per_image])
                groups.append(CaptionGroup(image, captions, self.mirror and rng.random() < 0.5))
        groups = [groups[i] for i in rng.permutation(len(groups))]
        window = self.images_per_batch * self.bucket_batches
        batches = []
        for start in range(0, len(groups), window):
            bucket = sorted(groups[start : start + window], key=self._longest)
            batches.extend(bucket[i : i + self.images_per_batch] for i in range(0, len(bucket), self.images_per_batch))
        for i in rng.permutation(len(batches)):
            yield batches[i]

    def _longest(self, group: CaptionGroup) -> int:
        return max(self.lengths[group.image][caption] for caption in group.captions)
