from pathlib import Path

import pytest
from common.tiny_vqa import make_processor
from PIL import Image
from transformers import AutoProcessor

from hf_attention import AttentionVQAProcessor


IMAGES = [Image.linear_gradient("L").resize(size) for size in ((40, 30), (20, 50))]


def test_ragged_questions_are_padded() -> None:
    inputs = make_processor()(IMAGES, ["what", "how many are there ?"], text_target=["red", "blue two"])
    assert {name: len(inputs[name]) for name in inputs} == dict.fromkeys(
        ("pixel_values", "input_ids", "attention_mask", "labels"), 2
    )
    assert inputs["attention_mask"] == [[1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]]
    assert inputs["input_ids"][0][1:] == [3, 0, 0, 0, 0]
    assert inputs["labels"][0][1:] == [3, -100] and inputs["labels"][1][-1] == 3
    tensors = make_processor()(IMAGES[0], "what", return_tensors="pt")
    assert tensors["pixel_values"].shape == (1, 3, 32, 32) and tensors["input_ids"].shape == (1, 2)


def test_long_and_unknown_questions() -> None:
    long = make_processor()(text="how many " * 5000)
    assert len(long["input_ids"][0]) == 10001
    assert len(make_processor()(text="how many " * 5000, truncation=True, max_length=7)["input_ids"][0]) == 7
    assert make_processor()(text="zebra   ")["input_ids"] == [[1, 3]]
    assert make_processor()(text="   ")["input_ids"] == [[3]]


def test_arguments_of_the_tokenizer_are_honoured() -> None:
    processor, texts = make_processor(), ["what", "how many are there ?"]
    for arguments in (
        {"padding": "max_length", "max_length": 9},
        {"padding": True, "pad_to_multiple_of": 4},
        {"padding": False},
        {"padding": "max_length", "max_length": 9, "padding_side": "left"},
        {"padding": True, "add_special_tokens": False},
        {"padding": True, "truncation": True, "max_length": 3},
    ):
        expected = processor.tokenizer(texts, **arguments)
        inputs = processor(text=texts, **arguments)
        assert dict(inputs) == {name: expected[name] for name in ("input_ids", "attention_mask")}
    assert set(processor(text=texts, return_attention_mask=False)) == {"input_ids"}
    with pytest.raises(ValueError, match="`return_offsets_mapping=True` does not apply"):
        processor(text=texts, return_offsets_mapping=True)


def test_what_makes_no_sense_is_refused() -> None:
    processor = make_processor()
    for images, text in ((IMAGES, "what"), (IMAGES[0], ["what", "how"])):
        with pytest.raises(ValueError, match="Every question needs its image"):
            processor(images, text)
    with pytest.raises(ValueError, match="at least one"):
        processor()
    for text in ([], 3, ["what", None]):
        with pytest.raises(ValueError, match="`text` must be"):
            processor(IMAGES[0], text)


def test_saved_and_loaded(tmp_path: Path) -> None:
    make_processor().save_pretrained(tmp_path)
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert type(loaded) is AttentionVQAProcessor
    assert loaded(text="what colour ?")["input_ids"] == make_processor()(text="what colour ?")["input_ids"]
