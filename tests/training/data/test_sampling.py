import numpy as np
import pytest
from accelerate.data_loader import BatchSamplerShard

from hf_attention.training.data.sampling import CaptionBatchSampler, LengthBatchSampler


@pytest.mark.parametrize("captions_per_image", [1, 2, 5])
def test_every_caption_once_an_epoch(captions_per_image: int) -> None:
    lengths = [[3, 9, 4, 7, 5], [2], [8, 8], *([[6, 5, 4, 3, 2]] * 9)]
    sampler = CaptionBatchSampler(lengths, 4, captions_per_image, mirror=True, seed=1)
    epochs = []
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        epochs.append(list(sampler))
        assert len(epochs[-1]) == len(sampler)
        assert max(map(len, epochs[-1])) <= 4
        pairs = [(group.image, caption) for batch in epochs[-1] for group in batch for caption in group.captions]
        assert sorted(pairs) == [(i, j) for i, texts in enumerate(lengths) for j in range(len(texts))]
    assert epochs[0] == epochs[2] != epochs[1]
    assert {group.mirrored for batch in epochs[0] for group in batch} == {False, True}
    assert {group.crop for batch in epochs[0] for group in batch} == {0}


def test_whole_images_and_crops_are_shown_as_often() -> None:
    sampler = CaptionBatchSampler([[5]] * 4000, 16, mirror=True, crops=3)
    groups = [group for batch in sampler for group in batch]
    shown = np.zeros((2, 4))
    for group in groups:
        shown[int(group.mirrored), group.crop] += 1
    np.testing.assert_allclose(shown, 500, atol=90)  # four standard deviations
    assert len({group.image for group in groups}) == 4000


def test_buckets_save_padding() -> None:
    lengths = np.random.default_rng(0).integers(3, 30, size=403).tolist()

    def padded(bucket_batches: int) -> int:
        sampler = LengthBatchSampler(lengths, 10, bucket_batches=bucket_batches)
        batches = list(sampler)
        assert len(batches) == len(sampler)
        assert sorted(number for batch in batches for number in batch) == list(range(403))
        captions = CaptionBatchSampler([[length] for length in lengths], 10, bucket_batches=bucket_batches)
        sizes = sum(len(batch) * max(lengths[group.image] for group in batch) for batch in captions)
        assert sizes == pytest.approx(sum(len(batch) * max(lengths[i] for i in batch) for batch in batches), rel=0.1)
        return sizes

    assert padded(20) < 0.7 * padded(1)


@pytest.mark.parametrize("processes", [1, 2])
def test_accelerate_keeps_batches_that_are_not_full(processes: int) -> None:
    """Where buckets end there are short batches; all processes together still see every example once."""
    sampler = LengthBatchSampler(list(range(45)), 4, bucket_batches=3)
    assert [len(batch) for batch in sampler].count(4) < len(sampler)
    shards = [BatchSamplerShard(sampler, processes, rank, even_batches=False) for rank in range(processes)]
    assert sorted(number for shard in shards for batch in shard for number in batch) == list(range(45))
