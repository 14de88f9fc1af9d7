from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from datasets import DatasetDict
from PIL import Image
from transformers import ResNetConfig

from hf_attention import AttentionCaptionerConfig, AttentionCaptionerForConditionalGeneration
from hf_attention.models.versions import pillow_image_processor
from hf_attention.scenes import make_scenes
from hf_attention.training.data.collators import stack_inputs
from hf_attention.training.data.crops import random_crop
from hf_attention.training.data.images import PixelsInMemory, PixelSource, make_source


@pytest.fixture(scope="module")
def scenes() -> DatasetDict:
    return make_scenes(train=24, validation=6, test=0, held_out=0, image_size=32)


def test_images_in_memory_are_mirrored(scenes: DatasetDict) -> None:
    processor = pillow_image_processor("ViTImageProcessor")(size={"height": 32, "width": 32})
    stored = PixelsInMemory(scenes["train"], "image", processor)
    assert len(stored) == len(scenes["train"])
    pixels = processor(images=scenes["train"][2]["image"], return_tensors="pt")["pixel_values"][0].half()
    assert stored.inputs(2)["pixel_values"].equal(pixels)
    assert stored.inputs(2, mirrored=True)["pixel_values"].equal(pixels.flip(-1))
    with pytest.raises(ValueError, match="`crop` must be 0 .* got 1"):
        stored.inputs(2, crop=1)


def test_pixel_source_mirrors(scenes: DatasetDict) -> None:
    source = PixelSource(
        scenes["train"], "image", pillow_image_processor("ViTImageProcessor")(size={"height": 32, "width": 32})
    )
    plain, mirrored = (source.inputs(3, mirrored)["pixel_values"] for mirrored in (False, True))
    assert torch.equal(plain.flip(-1), mirrored)
    assert not torch.equal(plain, mirrored)


def test_crops_are_parts_of_the_image_anywhere_and_the_same_each_time() -> None:
    x, y = np.meshgrid(np.arange(200), np.arange(100))
    image = Image.fromarray(np.stack([x, y, 0 * x], axis=-1).astype(np.uint8))  # a pixel's colour is its place
    boxes = []
    for crop in range(1, 201):
        pixels = np.array(random_crop(image, 3, crop)).astype(int)
        left, top = pixels[0, 0, :2].tolist()
        height, width = pixels.shape[:2]
        assert np.array_equal(pixels, np.array(image)[top : top + height, left : left + width])
        assert 140 <= width <= 200 and 70 <= height <= 100
        boxes.append((left, top, left + width, top + height))
    left, top, right, bottom = np.array(boxes).T
    assert left.min() < 3 and top.min() < 3 and right.max() > 197 and bottom.max() > 97
    width, height = right - left, bottom - top
    assert width.min() < 145 and width.max() > 195 and height.min() < 73 and height.max() > 97
    assert abs(np.corrcoef(width, height)[0, 1]) < 0.3
    first, again, other = (np.array(random_crop(image, row, 1)) for row in (3, 3, 4))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert random_crop(image.resize((1, 1)), 3, 1).size == (1, 1)


def test_pixel_source_crops(scenes: DatasetDict) -> None:
    processor = pillow_image_processor("ViTImageProcessor")(size={"height": 32, "width": 32})
    source = PixelSource(scenes["train"], "image", processor)
    cropped = random_crop(scenes["train"][3]["image"].convert("RGB"), 3, 2)
    expected = processor(images=cropped, return_tensors="pt")["pixel_values"][0]
    assert source.inputs(3, crop=2)["pixel_values"].equal(expected)
    assert source.inputs(3, mirrored=True, crop=2)["pixel_values"].equal(expected.flip(-1))


def test_stored_features_know_where_their_regions_are(scenes: DatasetDict, tmp_path: Path) -> None:
    """A captioner with `box_positions` remembers of stored features what it remembers of the pixels, crops too."""
    backbone = ResNetConfig(embedding_size=4, hidden_sizes=[4, 6], depths=[1, 1], layer_type="basic")
    config = AttentionCaptionerConfig(vocab_size=9, memory_size=8, backbone_config=backbone, box_positions=True)
    encoder = AttentionCaptionerForConditionalGeneration(config).eval().get_encoder()
    processor = pillow_image_processor("ViTImageProcessor")(size={"height": 64, "width": 64})
    images = (scenes["validation"], "image")
    stored = make_source(*images, encoder, processor, Accelerator(), mirror=True, features_dir=tmp_path, crops=1)
    pixels = PixelSource(*images, processor)
    for choice in ({}, {"mirrored": True}, {"crop": 1}):
        inputs = [stack_inputs([source.inputs(row, **choice) for row in (0, 3)]) for source in (stored, pixels)]
        assert inputs[0].keys() == {"region_features", "region_boxes"}
        memories = [encoder(**each).last_hidden_state for each in inputs]
        torch.testing.assert_close(*memories, atol=1e-2, rtol=1e-2)  # features are kept in float16
