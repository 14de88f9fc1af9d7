import copy
import errno
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict
from PIL import Image, ImageOps
from torch import nn
from transformers import ResNetConfig

from hf_attention import AttentionCaptionerConfig, AttentionCaptionerForConditionalGeneration
from hf_attention.models.versions import pillow_image_processor
from hf_attention.scenes import make_scenes
from hf_attention.training.data.crops import random_crop
from hf_attention.training.data.features import stored_region_features


@pytest.fixture(scope="module")
def scenes() -> DatasetDict:
    return make_scenes(train=24, validation=6, test=0, held_out=0, image_size=32)


TINY_BACKBONE = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}


@pytest.fixture
def encoder() -> nn.Module:
    sizes = {"embedding_size": 8, "hidden_size": 16, "attention_size": 8, "memory_size": 12}
    config = AttentionCaptionerConfig(vocab_size=40, backbone_config=ResNetConfig(**TINY_BACKBONE), **sizes)
    return AttentionCaptionerForConditionalGeneration(config).eval().get_encoder()


def test_features_are_computed_once(
    scenes: DatasetDict, encoder: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, processor = (
        scenes["validation"],
        pillow_image_processor("ViTImageProcessor")(size={"height": 32, "width": 32}),
    )

    def stored(**kwargs):
        arguments = {"dataset": dataset, "image_column": "image", "encoder": encoder, "image_processor": processor}
        return stored_region_features(**{**arguments, **kwargs}, folder=tmp_path, batch_size=4, show_progress=False)

    features, mirrored, cropped = stored(), stored(mirrored=True), stored(mirrored=True, crop=2)
    images = dataset["image"][:]
    crops = [random_crop(image, row, 2) for row, image in enumerate(images)]
    for found, pictures in (
        (features, images),
        (mirrored, [ImageOps.mirror(image) for image in images]),
        (cropped, [ImageOps.mirror(image) for image in crops]),
    ):
        with torch.no_grad():
            expected = encoder.extract_regions(processor(images=pictures, return_tensors="pt")["pixel_values"])
        assert found.dtype == np.float16
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-3)
    assert np.abs(features - mirrored).max() > 1e-2

    changed = copy.deepcopy(encoder)
    with torch.no_grad():
        next(changed.backbone.parameters()).mul_(2)
    deeper = copy.deepcopy(encoder)
    deeper.config.backbone_layers = [1]
    deeper.config.region_size += 8
    others = {
        "data": stored(dataset=dataset.select(range(5))),
        "weights": stored(encoder=changed),
        "layers": stored(encoder=deeper),
        "processor": stored(
            image_processor=pillow_image_processor("ViTImageProcessor")(size={"height": 64, "width": 64})
        ),
        "dtype": stored(dtype=torch.bfloat16),
    }
    files = {found.filename for found in (features, mirrored, cropped, *others.values())}
    assert len(files) == len(list(tmp_path.glob("[!.]*"))) == 8

    def fail(*args):
        raise AssertionError("computed again")

    monkeypatch.setattr(type(encoder), "extract_regions", fail)
    assert np.array_equal(stored(), features)


def test_interrupted_features_are_not_used(
    scenes: DatasetDict, encoder: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract, calls = type(encoder).extract_regions, []

    def interrupt_second(self, pixel_values):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return extract(self, pixel_values)

    arguments = (
        scenes["validation"],
        "image",
        encoder,
        pillow_image_processor("ViTImageProcessor")(size={"height": 32, "width": 32}),
        tmp_path,
    )
    monkeypatch.setattr(type(encoder), "extract_regions", interrupt_second)
    with pytest.raises(KeyboardInterrupt):
        stored_region_features(*arguments, batch_size=4, show_progress=False)
    features = stored_region_features(*arguments, batch_size=4, show_progress=False)
    assert np.abs(features).sum((1, 2)).all()


def test_features_that_overflow_are_refused(scenes: DatasetDict, encoder: nn.Module, tmp_path: Path) -> None:
    with torch.no_grad():
        next(encoder.backbone.parameters()).fill_(math.nan)
    processor = pillow_image_processor("ViTImageProcessor")(size={"height": 32, "width": 32})
    with pytest.raises(ValueError, match="row 0 are not finite"):
        stored_region_features(scenes["validation"], "image", encoder, processor, tmp_path, show_progress=False)


def test_a_full_disk_is_told(
    scenes: DatasetDict, encoder: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", fail, raising=False)
    processor = pillow_image_processor("ViTImageProcessor")(size={"height": 32, "width": 32})
    with pytest.raises(OSError, match="No space left on the disk for stored features of .* MiB") as error:
        stored_region_features(scenes["validation"], "image", encoder, processor, folder=tmp_path)
    assert str(tmp_path) in str(error.value) and not list(tmp_path.glob("**/*.npy"))


@pytest.mark.parametrize("way", ["missing", "empty", "cut", "changed"])
def test_damaged_features_are_computed_anew(
    scenes: DatasetDict, encoder: nn.Module, tmp_path: Path, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    processor = pillow_image_processor("ViTImageProcessor")(size={"height": 32, "width": 32})
    arguments = (scenes["validation"], "image", encoder, processor, tmp_path)
    features = stored_region_features(*arguments, show_progress=False)
    file, expected = Path(features.filename), np.array(features)
    content = file.read_bytes()
    file.unlink()
    if way != "missing":
        changed = content[:-1] + bytes([content[-1] ^ 255])
        file.write_bytes({"empty": b"", "cut": content[: len(content) // 2], "changed": changed}[way])
    assert np.array_equal(stored_region_features(*arguments, show_progress=False), expected)
    assert "are computed anew: features.npy" in caplog.text
    assert file.read_bytes() == content


def test_features_are_on_the_disk_before_they_are_in_their_place(
    scenes: DatasetDict, encoder: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, moved, sync, move = set(), [], os.fsync, os.replace

    def noted_sync(descriptor: int) -> None:
        sync(descriptor)
        synced.add(os.fstat(descriptor).st_ino)

    def noted_move(source: Path, target: Path) -> None:
        moved.extend(path.stat().st_ino for path in (source, *Path(source).iterdir()))
        assert synced.issuperset(moved)
        move(source, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "replace", noted_move)
    processor = pillow_image_processor("ViTImageProcessor")(size={"height": 32, "width": 32})
    stored_region_features(scenes["validation"], "image", encoder, processor, tmp_path, show_progress=False)
    assert len(moved) == 3


def test_of_two_that_need_features_one_computes_them(
    scenes: DatasetDict, encoder: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor = pillow_image_processor("ViTImageProcessor")(size={"height": 32, "width": 32})
    arguments = (scenes["validation"], "image", encoder, processor, tmp_path)
    extract, calls = type(encoder).extract_regions, []

    def slow(self, pixel_values):
        calls.append(1)
        time.sleep(0.2)
        return extract(self, pixel_values)

    monkeypatch.setattr(type(encoder), "extract_regions", slow)
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(lambda _: stored_region_features(*arguments, show_progress=False), range(2))
    assert len(calls) == 1
    assert np.array_equal(one, two)


def test_a_file_that_changes_is_read_again(encoder: nn.Module, tmp_path: Path) -> None:
    """Of a column of files, the data set is the same before and after."""
    file = tmp_path / "a.png"
    dataset = Dataset.from_dict({"image": [str(file)]}).cast_column("image", datasets.Image())
    found = []
    for level in (0, 200):
        Image.new("RGB", (32, 32), (level, 0, 0)).save(file)
        processor = pillow_image_processor("ViTImageProcessor")(size={"height": 32, "width": 32})
        found.append(stored_region_features(dataset, "image", encoder, processor, tmp_path / "features"))
    assert np.abs(found[0] - found[1]).max() > 1e-2
