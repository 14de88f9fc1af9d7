import numpy as np
import pytest
import torch
from common import tiny_captioner
from PIL import Image
from torch.testing import assert_close
from transformers import (
    AutoModel,
    MobileNetV2Config,
    ResNetConfig,
    SwinConfig,
    ViTConfig,
)

from hf_attention import AttentionCaptionerConfig, ImageToTextPipeline
from hf_attention.models.regions import ImageRegions, Placement, boxes_in_pixels, measure_placement
from hf_attention.models.versions import pillow_image_processor
from hf_attention.seeing import attention_page, plot_caption_attention


STRAIGHT = pillow_image_processor("ViTImageProcessor")(size={"height": 64, "width": 64})
CROPPED = pillow_image_processor("CLIPImageProcessor")(
    size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}
)
# Resized to 80, of which 64 are kept.
CROPPED_ALL_ROUND = pillow_image_processor("CLIPImageProcessor")(
    size={"shortest_edge": 80}, crop_size={"height": 64, "width": 64}
)
PADDED = pillow_image_processor("ViTImageProcessor")(
    size={"max_height": 64, "max_width": 64}, do_pad=True, pad_size={"height": 64, "width": 96}
)
PADDED_ALL_ROUND = pillow_image_processor("CLIPImageProcessor")(do_resize=False, crop_size={"height": 64, "width": 96})
TINY_VIT = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 0, "num_attention_heads": 1}


def make_regions(backbone_config, image_processor) -> ImageRegions:
    config = AttentionCaptionerConfig(backbone_config=backbone_config, memory_size=8, attention_size=8)
    return ImageRegions(config, image_processor)


@pytest.mark.parametrize(
    ("image_processor", "size", "expected"),
    [
        (STRAIGHT, (100, 50), Placement((100, 50), (64, 64), (0, 0), (64, 64))),
        (STRAIGHT, (300, 500), Placement((300, 500), (64, 64), (0, 0), (64, 64))),
        (STRAIGHT, (5, 2), Placement((5, 2), (64, 64), (0, 0), (64, 64))),
        (STRAIGHT, (1, 1), Placement((1, 1), (64, 64), (0, 0), (64, 64))),
        (STRAIGHT, (1, 300), Placement((1, 300), (64, 64), (0, 0), (64, 64))),
        (STRAIGHT, (300, 3), Placement((300, 3), (64, 64), (0, 0), (64, 64))),
        # 500 / 375 * 64 = 85.3, of which (85 - 64) / 2 go on the left.
        (CROPPED, (500, 375), Placement((500, 375), (64, 64), (-10, 0), (85, 64))),
        (CROPPED, (333, 999), Placement((333, 999), (64, 64), (0, -64), (64, 192))),
        (CROPPED, (2, 3), Placement((2, 3), (64, 64), (0, -16), (64, 96))),
        (CROPPED_ALL_ROUND, (120, 90), Placement((120, 90), (64, 64), (-21, -8), (106, 80))),
        (CROPPED_ALL_ROUND, (1000, 100), Placement((1000, 100), (64, 64), (-368, -8), (800, 80))),
        (PADDED, (200, 100), Placement((200, 100), (64, 96), (0, 0), (64, 32))),
        (PADDED_ALL_ROUND, (40, 30), Placement((40, 30), (64, 96), (28, 17), (40, 30))),
        (PADDED_ALL_ROUND, (2, 3), Placement((2, 3), (64, 96), (47, 31), (2, 3))),
        (PADDED_ALL_ROUND, (120, 70), Placement((120, 70), (64, 96), (-12, -3), (120, 70))),
        (PADDED_ALL_ROUND, (101, 60), Placement((101, 60), (64, 96), (-2, 2), (101, 60))),
        # The shortest edge becomes 64 / 0.9.
        (
            pillow_image_processor("PoolFormerImageProcessor")(
                size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}
            ),
            (200, 100),
            Placement((200, 100), (64, 64), (-39, -3), (142, 71)),
        ),
        # Made a square, then resized.
        (
            pillow_image_processor("LlavaImageProcessor")(
                do_pad=True, size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}
            ),
            (200, 100),
            Placement((200, 100), (64, 64), (0, 16), (64, 32)),
        ),
    ],
)
def test_where_an_image_lies(image_processor, size, expected):
    assert measure_placement(image_processor, size) == expected


@pytest.mark.parametrize(
    ("image_processor", "size", "expected"),
    [
        (STRAIGHT, (8000, 6000), Placement((8000, 6000), (64, 64), (0, 0), (64, 64))),
        # 64 * 4001 / 2999 = 85.4, and 80 * 4032 / 3024 = 106.7.
        (CROPPED, (4001, 2999), Placement((4001, 2999), (64, 64), (-10, 0), (85, 64))),
        (CROPPED_ALL_ROUND, (3024, 4032), Placement((3024, 4032), (64, 64), (-8, -21), (80, 106))),
        (PADDED, (12000, 9000), Placement((12000, 9000), (64, 96), (0, 0), (64, 48))),
        # What is not resized lies where its own size says.
        (PADDED_ALL_ROUND, (900, 800), Placement((900, 800), (64, 96), (-402, -368), (900, 800))),
    ],
)
def test_where_a_large_image_lies(image_processor, size, expected, monkeypatch):
    read = []
    call = type(image_processor).__call__

    def recording(self, images, **kwargs):
        read.append(images.width * images.height)
        return call(self, images, **kwargs)

    monkeypatch.setattr(type(image_processor), "__call__", recording)
    assert measure_placement(image_processor, size) == expected
    assert image_processor is PADDED_ALL_ROUND or max(read) <= 1_000_000


@pytest.mark.parametrize("resample", [Image.Resampling.NEAREST, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS])
def test_every_resampling(resample):
    image_processor = pillow_image_processor("CLIPImageProcessor")(
        size={"shortest_edge": 80}, crop_size={"height": 64, "width": 64}, resample=resample
    )
    for size in ((120, 90), (60, 120), (640, 480)):
        width, height = (round(80 * side / min(size) - 0.499) for side in size)
        expected = Placement(size, (64, 64), (-((width - 64) // 2), -((height - 64) // 2)), (width, height))
        assert measure_placement(image_processor, size) == expected


@pytest.mark.parametrize(
    "image_processor",
    [STRAIGHT, CROPPED, CROPPED_ALL_ROUND, PADDED, PADDED_ALL_ROUND],
    ids=["straight", "cropped", "cropped all round", "padded", "padded all round"],
)
@pytest.mark.parametrize("size", [(64, 64), (150, 100), (70, 130)])
def test_lighting_up_a_rectangle_changes_the_cell_that_covers_it(image_processor, size):
    """Brute force: a spot in the middle of a region's rectangle is seen by that patch's embedding most of all."""
    torch.manual_seed(0)
    shape = measure_placement(image_processor, size).shape
    backbone_config = ViTConfig(**TINY_VIT, patch_size=16, image_size=shape)
    boxes, (rows, columns) = make_regions(backbone_config, image_processor)(size)
    patches = AutoModel.from_config(backbone_config).embeddings.patch_embeddings.eval()

    @torch.no_grad()
    def see(image: Image.Image) -> torch.Tensor:
        pixel_values = image_processor(images=image, return_tensors="pt")["pixel_values"]
        return patches(pixel_values)[0]

    dark = see(Image.new("RGB", size))
    assert boxes.shape == (len(dark), 4) and rows * columns == len(dark)
    tried = 0
    for number, (left, top, right, bottom) in enumerate(boxes.tolist()):
        if right - left < 8 or bottom - top < 8:
            continue
        image = np.zeros((size[1], size[0], 3), np.uint8)
        x, y = (left + right) / 2, (top + bottom) / 2
        image[int(y) - 1 : int(y) + 1, int(x) - 1 : int(x) + 1] = 255
        change = (see(Image.fromarray(image)) - dark).norm(dim=-1)
        assert change.argmax() == number
        tried += 1
    assert tried >= 6


def test_the_rectangles_of_a_grid_tile_what_is_seen():
    boxes, grid = make_regions(ViTConfig(**TINY_VIT, patch_size=16, image_size=64), CROPPED)((128, 64))
    assert grid == (4, 4)
    # The middle 64 of 128 columns are seen, and nothing is resized.
    assert_close(boxes[0], torch.tensor([32.0, 0, 48, 16]))
    assert_close(boxes[1], torch.tensor([48.0, 0, 64, 16]))
    assert_close(boxes[4], torch.tensor([32.0, 16, 48, 32]))
    assert_close(boxes[15], torch.tensor([80.0, 48, 96, 64]))


def test_a_region_of_padding_is_empty():
    boxes, grid = make_regions(ViTConfig(**TINY_VIT, patch_size=16, image_size=(64, 96)), PADDED)((64, 40))
    assert grid == (4, 6)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    assert area.reshape(grid).tolist() == [[256.0] * 4 + [0] * 2] * 2 + [[128.0] * 4 + [0] * 2] + [[0.0] * 6]


@pytest.mark.parametrize(
    ("backbone_config", "side", "grid", "cell"),
    [
        (ViTConfig(**TINY_VIT, patch_size=16, image_size=72), 72, 4, 16),  # the last 8 pixels are in no patch
        (ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic"), 64, 8, 8),
        (MobileNetV2Config(depth_multiplier=0.35), 96, 3, 32),
        (
            SwinConfig(image_size=64, patch_size=4, embed_dim=4, depths=[1, 1], num_heads=[1, 1], window_size=2),
            64,
            8,
            8,
        ),
    ],
    ids=lambda value: getattr(value, "model_type", None),
)
def test_the_grid_of_every_kind_of_backbone(backbone_config, side, grid, cell):
    image_processor = pillow_image_processor("ViTImageProcessor")(size={"height": side, "width": side})
    boxes, shape = make_regions(backbone_config, image_processor)((2 * side, side))
    assert shape == (grid, grid) and len(boxes) == grid**2
    assert_close(boxes[0], torch.tensor([0.0, 0, 2 * cell, cell]))
    assert_close(boxes[-1], torch.tensor([2.0 * cell * (grid - 1), cell * (grid - 1), 2 * cell * grid, cell * grid]))


def test_boxes_that_were_given():
    boxes = torch.tensor([[0.0, 0.25, 0.5, 1.0]])
    assert boxes_in_pixels(boxes, (200, 100)).tolist() == [[0, 25, 100, 100]]
    with pytest.raises(ValueError, match=r"`region_boxes` must have shape .* got \(1, 5\)"):
        boxes_in_pixels(torch.zeros(1, 5), (200, 100))


@pytest.mark.parametrize("several", [1, 2])
def test_the_pipelines_tell_where_the_regions_are(several):
    processor = tiny_captioner.make_processor()
    captioner = ImageToTextPipeline(tiny_captioner.make_model(), processor=processor)
    pictures = [Image.new("RGB", size, "red") for size in ((32, 32), (64, 96), (5, 200), (2000, 2))]
    beams = {"num_beams": 2, "num_return_sequences": several}
    answers = captioner(pictures, batch_size=4, output_attentions=True, max_new_tokens=3, generate_kwargs=beams)
    for (width, height), records in zip((picture.size for picture in pictures), answers, strict=True):
        assert len(records) == several
        for record in records:
            assert record["grid"] == (4, 4) and record["attentions"].shape[1] == len(record["regions"]) == 16
            assert_close(record["regions"][0], torch.tensor([0, 0, width / 4, height / 4]))
            assert_close(record["regions"][6], torch.tensor([width / 2, height / 4, 3 * width / 4, height / 2]))
    assert set(captioner(pictures[0], max_new_tokens=3)[0]) == {"generated_text"}


def test_a_photograph_is_turned_as_its_exif_says(tmp_path):
    """By the pipeline, which tells the rectangles, and by what draws them."""
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.linear_gradient("L").resize((90, 60)).convert("RGB").save(tmp_path / "photo.jpg", exif=exif)
    photo = Image.open(tmp_path / "photo.jpg")
    captioner = ImageToTextPipeline(tiny_captioner.make_model(), processor=tiny_captioner.make_processor())
    [answer] = captioner(photo, output_attentions=True, max_new_tokens=2)
    assert_close(answer["regions"][-1], torch.tensor([45.0, 67.5, 60.0, 90.0]))
    regions, _ = ImageRegions(captioner.model.config, captioner.image_processor)(photo)
    assert_close(regions, answer["regions"])
    page = attention_page(answer["tokens"], answer["attentions"], image=photo, regions=answer["regions"])
    assert f"--ratio: {60 / 90:.5f}" in page
    figure = plot_caption_attention(photo, answer["tokens"], answer["attentions"], regions=answer["regions"])
    assert figure.axes[0].images[0].get_extent() == [0, 60, 90, 0]


class Turning(pillow_image_processor("ViTImageProcessor")):
    """One that does what cannot be told by rectangles along the axes."""

    def _preprocess(self, images, **kwargs):
        return super()._preprocess([image.transpose(0, 2, 1) for image in images], **kwargs)


@pytest.mark.parametrize(
    ("image_processor", "message"),
    [
        (Turning(), "Turning does something else"),
        (pillow_image_processor("Pix2StructImageProcessor")(), "does not make one picture"),
    ],
)
def test_what_cannot_be_told_is_refused(image_processor, message):
    with pytest.raises(ValueError, match=message):
        measure_placement(image_processor, (100, 80))


def test_an_image_without_pixels_and_a_model_without_backbone_are_refused():
    with pytest.raises(ValueError, match=r"`image_size` must be \(width, height\)"):
        measure_placement(STRAIGHT, (0, 5))
    with pytest.raises(ValueError, match="without `backbone_config`"):
        ImageRegions(AttentionCaptionerConfig(region_size=8), STRAIGHT)
