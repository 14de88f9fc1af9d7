"""What transformers asks of every processor of its own."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from common import tiny_captioner, tiny_vqa
from PIL import Image
from torch.testing import assert_close
from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer


over_processors = pytest.mark.parametrize("tiny", [tiny_captioner, tiny_vqa], ids=["captioner", "vqa"])
PICTURE = Image.linear_gradient("L").resize((40, 30)).convert("RGB")
NEGATIVE = {"do_rescale": True, "rescale_factor": -1.0}


def words_of(features: dict[str, Any]) -> torch.Tensor:
    return features["decoder_input_ids" if "decoder_input_ids" in features else "input_ids"]


@over_processors
def test_a_processor_is_its_parts(tiny, tmp_path: Path) -> None:
    processor = tiny.make_processor()
    processor.save_pretrained(tmp_path)
    of_parts = type(processor)(AutoImageProcessor.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path))
    for each in (type(processor).from_pretrained(tmp_path), of_parts):
        found, expected = (json.loads(one.to_json_string()) for one in (each, processor))
        assert {**found, "auto_map": None} == {**expected, "auto_map": None}
        assert repr(each.image_processor) == repr(processor.image_processor)
        assert each.tokenizer.get_vocab() == processor.tokenizer.get_vocab()
    for load in (type(processor).from_pretrained, AutoProcessor.from_pretrained):
        loaded = load(tmp_path, cls_token="(CLS)", do_normalize=False)
        assert loaded.tokenizer.cls_token == "(CLS)" and loaded.image_processor.do_normalize is False
    of_parts.image_processor.size = {"height": 8, "width": 8}
    loaded = type(processor).from_pretrained(tmp_path, image_processor=of_parts.image_processor)
    assert loaded.image_processor.size == of_parts.image_processor.size


@over_processors
def test_a_processor_gives_what_it_names(tiny) -> None:
    processor = tiny.make_processor()
    pictures, texts = [PICTURE] * 2, ["what", "a square left of the"]
    for tensors, kind in (("pt", torch.Tensor), ("np", np.ndarray), (None, list)):
        features = processor(pictures, texts, text_target=["red", "blue"], return_tensors=tensors)
        assert set(features) == set(processor.model_input_names)
        assert all(isinstance(value, kind) for value in features.values())
    expected = processor.image_processor(pictures, return_tensors="pt")["pixel_values"]
    assert_close(processor(images=pictures, return_tensors="pt")["pixel_values"], expected)
    tokens = [[1, 4, 5, 3, 0], [2, 4, 3, 0, 0]]
    assert processor.batch_decode(tokens) == processor.tokenizer.batch_decode(tokens)


@over_processors
def test_what_the_parts_were_made_with_holds_unless_another_is_asked_for(tiny, tmp_path: Path) -> None:
    processor = tiny.make_processor()
    processor.save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, padding="max_length", max_length=17)
    image_processor = AutoImageProcessor.from_pretrained(tmp_path, **NEGATIVE)
    made = type(processor)(image_processor, tokenizer)
    features = made(PICTURE, "what", return_tensors="pt")
    assert words_of(features).shape[1] == 17 and features["pixel_values"].mean() < 0
    features = made(PICTURE, "what", padding="longest", rescale_factor=1.0, do_normalize=False, return_tensors="pt")
    assert words_of(features).shape[1] == 2 and features["pixel_values"].mean() > 0


@over_processors
def test_arguments_of_both_parts_in_a_row_or_sorted(tiny) -> None:
    processor = tiny.make_processor()
    padded = {"padding": "max_length", "max_length": 16}
    sorted_ones = {"images_kwargs": NEGATIVE, "text_kwargs": padded, "common_kwargs": {"return_tensors": "pt"}}
    for asked in ({**NEGATIVE, **padded, "return_tensors": "pt"}, sorted_ones):
        features = processor(images=PICTURE, text="what", **asked)
        assert features["pixel_values"].mean() < 0 and words_of(features).shape[1] == 16
    for twice in (
        {"images_kwargs": {"do_rescale": True}, "do_rescale": True},
        {"text_kwargs": {"padding": "do_not_pad"}, "padding": "max_length"},
    ):
        with pytest.raises(ValueError, match="two times"):
            processor(PICTURE, "what", **twice)
    with pytest.raises(TypeError, match="`paddding`"):
        processor(PICTURE, "what", paddding=True)
