import pytest
import torch
from datasets import DatasetDict

from hf_attention.models.versions import pillow_image_processor
from hf_attention.scenes import make_scenes
from hf_attention.training.data.images import PixelsInMemory, PixelSource


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


def test_pixel_source_mirrors(scenes: DatasetDict) -> None:
    source = PixelSource(
        scenes["train"], "image", pillow_image_processor("ViTImageProcessor")(size={"height": 32, "width": 32})
    )
    plain, mirrored = (source.inputs(3, mirrored)["pixel_values"] for mirrored in (False, True))
    assert torch.equal(plain.flip(-1), mirrored)
    assert not torch.equal(plain, mirrored)
