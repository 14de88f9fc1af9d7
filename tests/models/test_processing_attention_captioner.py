"""The captioner's processor: pixel values of any image, decoder prefixes and labels of any text."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoProcessor, AutoTokenizer, PreTrainedTokenizerFast, ViTImageProcessor
from transformers.processing_utils import TextKwargs

from hf_attention import AttentionCaptionerProcessor, AttentionVQAProcessor
from hf_attention.models.pictures import read_image
from hf_attention.models.processing_attention_captioner import TEXT_KWARGS
from hf_attention.models.versions import AutoImageProcessor


PAD, UNKNOWN, START, END, A, RED, CIRCLE = range(7)
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


@pytest.fixture(scope="module")
def processor() -> AttentionCaptionerProcessor:
    words = ["<pad>", "<unk>", "<s>", "</s>", "a", "red", "circle"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", END)])
    return AttentionCaptionerProcessor(
        ViTImageProcessor(size={"height": 16, "width": 24}, image_mean=MEAN, image_std=STD),
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>"
        ),
    )


def picture(width: int = 30, height: int = 20) -> Image.Image:
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([7 * columns, 11 * rows, 200 - 3 * rows - 4 * columns], axis=-1)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def pixel_values_of(image: Image.Image) -> torch.Tensor:
    """Of an RGB image, by hand: resized, then each channel less its mean over its standard deviation."""
    pixels = np.asarray(image.resize((24, 16), Image.Resampling.BILINEAR), dtype=np.float64) / 255
    return torch.tensor((pixels - MEAN) / STD, dtype=torch.float32).permute(2, 0, 1)


def check_pixels(processor: AttentionCaptionerProcessor, images, *expected: Image.Image) -> None:
    pixel_values = processor(images=images, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(pixel_values, torch.stack([pixel_values_of(image) for image in expected]))


@pytest.mark.parametrize("size", [(30, 20), (1, 1), (3, 3), (7, 3), (3, 7), (1, 2), (3000, 1), (1, 3000)])
def test_images_of_any_size(processor: AttentionCaptionerProcessor, size: tuple[int, int]) -> None:
    check_pixels(processor, picture(*size), picture(*size))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_images_of_any_mode(processor: AttentionCaptionerProcessor, mode: str) -> None:
    image = picture().convert("RGBA" if mode == "PA" else "RGB").convert(mode)
    assert image.mode == mode
    check_pixels(processor, image, image.convert("RGB"))


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0)])
def test_an_image_without_pixels_is_refused(processor: AttentionCaptionerProcessor, size: tuple[int, int]) -> None:
    answering = AttentionVQAProcessor(processor.image_processor, processor.tokenizer)
    nothing = Image.new("RGB", size)
    for image in (nothing, np.zeros((*size, 3), np.uint8), torch.zeros(3, *size), [Image.new("RGB", (5, 5)), nothing]):
        with pytest.raises(ValueError, match="no pixels"):
            processor(images=image)
        with pytest.raises(ValueError, match="no pixels"):
            answering(images=image, text="what ?")
    with pytest.raises(ValueError, match="no pixels"):
        read_image(nothing)


def test_a_palette_with_transparency(processor: AttentionCaptionerProcessor, tmp_path: Path) -> None:
    picture().quantize(16).save(tmp_path / "palette.png", transparency=3)
    image = Image.open(tmp_path / "palette.png")
    assert image.mode == "P" and "transparency" in image.info
    check_pixels(processor, image, picture().quantize(16).convert("RGB"))


def test_grey_of_16_bits(processor: AttentionCaptionerProcessor, tmp_path: Path) -> None:
    grey = np.asarray(picture().convert("L"))
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    image = Image.open(tmp_path / "deep.png")
    assert image.mode in ("I;16", "I")  # which of them goes by the version of Pillow
    check_pixels(processor, image, Image.fromarray(grey).convert("RGB"))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_its_exif_says(
    processor: AttentionCaptionerProcessor, tmp_path: Path, orientation: int
) -> None:
    # Where the first row and the first column of the stored pixels belong, by the EXIF standard's table.
    upright = np.asarray(picture())
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: upright.swapaxes(0, 1)[::-1],
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: upright.swapaxes(0, 1)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "turned.png", exif=exif)
    check_pixels(processor, Image.open(tmp_path / "turned.png"), picture())


def test_images_in_any_container(processor: AttentionCaptionerProcessor, tmp_path: Path) -> None:
    first, second = picture(), picture(12, 40)
    arrays = [np.asarray(image) for image in (first, second)]
    check_pixels(processor, [first, second], first, second)
    check_pixels(processor, (first, second.convert("RGBA")), first, second)
    check_pixels(processor, arrays[0], first)
    check_pixels(processor, arrays, first, second)
    check_pixels(processor, [first, arrays[1]], first, second)
    check_pixels(processor, torch.tensor(arrays[0]).permute(2, 0, 1), first)
    check_pixels(processor, np.stack([arrays[0], arrays[0]]), first, first)
    first.save(tmp_path / "first.png")
    check_pixels(processor, str(tmp_path / "first.png"), first)


def test_arguments_go_to_the_part_they_are_for(processor: AttentionCaptionerProcessor) -> None:
    inputs = processor(
        picture(), "a red circle", "a red circle", size={"height": 8, "width": 4}, truncation=True, max_length=2
    )
    assert inputs["pixel_values"][0].shape == (3, 8, 4)
    assert inputs["decoder_input_ids"] == [[START, A]]
    assert inputs["labels"] == [[A, END]]  # a caption cut short is closed all the same
    inputs = processor(picture(), "a", images_kwargs={"size": {"height": 8, "width": 4}}, padding=True)
    assert inputs["pixel_values"][0].shape == (3, 8, 4)


def test_arguments_of_the_tokenizer_are_honoured(processor: AttentionCaptionerProcessor) -> None:
    texts = ["a red circle", "red"]
    inputs = processor(text=texts, text_target=texts, padding="max_length", max_length=6)
    assert inputs["decoder_input_ids"] == [[PAD, PAD, START, A, RED, CIRCLE], [PAD] * 4 + [START, RED]]
    assert inputs["decoder_attention_mask"] == [[0, 0, 1, 1, 1, 1], [0] * 4 + [1, 1]]
    assert inputs["labels"] == [[A, RED, CIRCLE, END, -100, -100], [RED, END] + [-100] * 4]
    inputs = processor(text=texts, text_target=texts, text_kwargs={"pad_to_multiple_of": 8, "return_tensors": "pt"})
    assert inputs["decoder_input_ids"].shape == inputs["labels"].shape == (2, 8)
    inputs = processor(text=texts, text_target=texts, padding=False)
    assert inputs["labels"] == [[A, RED, CIRCLE, END], [RED, END]]
    assert inputs["decoder_input_ids"] == [[START, A, RED, CIRCLE], [START, RED]]
    inputs = processor(text=texts, text_target=texts, add_special_tokens=False)
    assert inputs["labels"] == [[A, RED, CIRCLE], [RED, -100, -100]]
    assert inputs["decoder_input_ids"] == [[A, RED, CIRCLE], [PAD, PAD, RED]]
    assert processor(text="a", return_attention_mask=True)["decoder_attention_mask"] == [[1, 1]]
    assert "decoder_attention_mask" not in processor(text=texts, return_attention_mask=False)
    assert processor(text_target=texts, max_length=2)["labels"] == [[A, END], [RED, END]]
    assert processor(text_target=texts, max_length=2, padding=True)["labels"][0] == [A, RED, CIRCLE, END]


def test_arguments_of_the_tokenizer_that_do_not_apply_are_refused(processor: AttentionCaptionerProcessor) -> None:
    said = set(TextKwargs.__annotations__) - set(TEXT_KWARGS) - {"text_target"}
    assert len(said) > 5
    for name in said:
        with pytest.raises(ValueError, match=f"`{name}=.* does not apply"):
            processor(
                text="a", text_kwargs={name: ["a"] if name.startswith("text") else 1 if name == "stride" else True}
            )
        processor(text="a", text_kwargs={name: None})
    with pytest.raises(ValueError, match="`padding_side` must be 'left' for `text`"):
        processor(text="a", padding_side="right")
    with pytest.raises(ValueError, match="`padding='max_length'` needs a `max_length`"):
        processor(text="a", padding="max_length")


def test_text_is_a_prefix_without_its_closing_token(processor: AttentionCaptionerProcessor) -> None:
    assert dict(processor(text="A red")) == {"decoder_input_ids": [[START, A, RED]]}
    inputs = processor(text=["a red circle", "red", ""], return_tensors="pt")
    assert inputs["decoder_input_ids"].tolist() == [
        [START, A, RED, CIRCLE],
        [PAD, PAD, START, RED],
        [PAD] * 3 + [START],
    ]
    assert inputs["decoder_attention_mask"].tolist() == [[1, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]]
    # Of one length: nothing is padding.
    assert set(processor(text=["a", "red"])) == {"decoder_input_ids"}


def test_text_target_are_closed_labels(processor: AttentionCaptionerProcessor) -> None:
    assert dict(processor(text_target="A red circle")) == {"labels": [[A, RED, CIRCLE, END]]}
    labels = processor(text_target=["red", "a red circle"], return_tensors="pt")["labels"]
    assert labels.tolist() == [[RED, END, -100, -100], [A, RED, CIRCLE, END]]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", []), ("  \n", []), ("purple", [UNKNOWN]), ("a purple", [A, UNKNOWN]), ("</s> a", [END, A])],
)
def test_unusual_texts(processor: AttentionCaptionerProcessor, text: str, tokens: list[int]) -> None:
    assert processor(text=text)["decoder_input_ids"] == [[START, *tokens]]
    assert processor(text_target=text)["labels"] == [[*tokens, END]]


def test_images_and_texts_together(processor: AttentionCaptionerProcessor) -> None:
    inputs = processor(picture(), "a", "red circle", return_tensors="pt")
    assert list(inputs) == ["pixel_values", "decoder_input_ids", "labels"]
    assert set(inputs) <= set(processor.model_input_names)
    assert torch.equal(inputs["pixel_values"][0], processor(images=picture(), return_tensors="pt")["pixel_values"][0])
    assert inputs["decoder_input_ids"].tolist() == [[START, A]]
    assert inputs["labels"].tolist() == [[RED, CIRCLE, END]]
    assert inputs.to(torch.bfloat16)["pixel_values"].dtype == torch.bfloat16
    assert inputs["labels"].dtype == torch.int64
    # Several captions of one image.
    inputs = processor([picture()], text_target=["a", "red", "circle"], return_tensors="pt")
    assert len(inputs["pixel_values"]) == 1 and len(inputs["labels"]) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "at least one of `images`, `text` and `text_target`"),
        ({"images": []}, "`images` is an empty list"),
        ({"text": []}, "`text` must be a string or a non-empty list"),
        ({"text_target": []}, "`text_target` must be a string or a non-empty list"),
        ({"text": 5}, "`text` must be .* got 5"),
        ({"text_target": ["a", None]}, r"`text_target` must be .* got \['a', None\]"),
    ],
)
def test_what_is_no_input_is_named(processor: AttentionCaptionerProcessor, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        processor(**arguments)


def test_the_tokenizer_reads_back(processor: AttentionCaptionerProcessor) -> None:
    sequences = [[START, A, RED, END, PAD], [START, CIRCLE, END, PAD, PAD]]
    assert processor.batch_decode(sequences, skip_special_tokens=True) == ["a red", "circle"]
    assert processor.decode(sequences[0], skip_special_tokens=True) == "a red"
    assert processor.post_process_image_text_to_text(sequences) == ["a red", "circle"]


def test_save_and_load(processor: AttentionCaptionerProcessor, tmp_path: Path) -> None:
    processor.save_pretrained(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "processor_config.json",
        "processing_attention_captioner.py",
        "pictures.py",
        "remote_code.py",
        "special_tokens.py",
        "versions.py",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    auto_map = json.loads((tmp_path / "processor_config.json").read_text())["auto_map"]
    assert auto_map == {"AutoProcessor": "processing_attention_captioner.AttentionCaptionerProcessor"}
    arguments = {"images": picture(), "text": ["a", "a red"], "text_target": "circle", "return_tensors": "pt"}
    expected = processor(**arguments)
    for load in (AutoProcessor.from_pretrained, AttentionCaptionerProcessor.from_pretrained):
        loaded = load(tmp_path)
        assert type(loaded) is AttentionCaptionerProcessor
        again = loaded(**arguments)
        assert list(again) == list(expected)
        assert all(torch.equal(again[name], expected[name]) for name in expected)
        # What was loaded saves and loads as well.
        loaded.save_pretrained(tmp_path / "again")
        assert AutoProcessor.from_pretrained(tmp_path / "again")(text="a")["decoder_input_ids"] == [[START, A]]
    assert AutoTokenizer.from_pretrained(tmp_path)("a red").input_ids == [A, RED, END]
    assert AutoImageProcessor.from_pretrained(tmp_path).size == {"height": 16, "width": 24}
