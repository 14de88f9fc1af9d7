"""What visitors may pick."""

from pathlib import Path

import pytest
from PIL import Image

from hf_attention import AttentionSeq2SeqTokenizer
from hf_attention.demo.examples import (
    MOST_PICTURES,
    example_captions,
    example_questions,
    example_scenes,
    read_examples,
    scene_variety,
)
from hf_attention.scenes.captions import describe
from hf_attention.scenes.layout import make_scene
from hf_attention.scenes.questions import ask
from hf_attention.training.data.tokenization import train_tokenizer


PHOTOGRAPHS = [
    "a brown dog runs through the white snow",
    "two children in red shirts play on a green field",
    "a man on a bicycle jumps off a large rock above the water",
]


def captions(variety: int) -> list[str]:
    scenes = [make_scene(0, "train", number, variety=variety) for number in range(200)]
    return [caption.text for scene in scenes for caption in describe(scene, 3)]


@pytest.mark.parametrize("variety", [6, 12])
def test_the_words_of_a_model_tell_whether_it_is_of_scenes(variety: int):
    tokenizer = train_tokenizer(captions(variety), min_count=1)
    assert scene_variety(tokenizer) == variety
    unknown = tokenizer.unk_token_id
    assert all(unknown not in tokenizer(text)["input_ids"] for text in example_captions(example_scenes(variety)))


def test_a_translator_is_told_by_its_source():
    of_scenes, of_photographs = (train_tokenizer(texts, min_count=1) for texts in (captions(12), PHOTOGRAPHS))
    assert scene_variety(AttentionSeq2SeqTokenizer.from_tokenizers(of_scenes, of_photographs)) == 12
    assert scene_variety(AttentionSeq2SeqTokenizer.from_tokenizers(of_photographs, of_scenes)) is None


@pytest.mark.parametrize(
    "texts",
    [
        PHOTOGRAPHS,
        captions(6) + [f"thing{chr(97 + one)}{chr(97 + two)}" for one in range(26) for two in range(26)],
        ["안녕"],
    ],
    ids=["photographs", "many words", "Korean"],
)
def test_other_models_are_not_of_scenes(texts: list[str]):
    assert scene_variety(train_tokenizer(texts, min_count=1)) is None


def test_scenes_are_asked_about_in_different_ways():
    scenes = example_scenes(12)
    questions = example_questions(scenes)
    kinds = [
        {each.text: each.kind for each in ask(scene, 12)}[text] for scene, text in zip(scenes, questions, strict=True)
    ]
    assert kinds == ["colour", "count", "shape", "relation"]
    assert all(len(scene.objects) > 1 for scene in scenes)
    assert example_questions([]) == example_captions([]) == []


def test_pictures_of_a_folder(tmp_path: Path):
    for number in range(MOST_PICTURES + 1):
        Image.new("RGB", (20 + number, 10)).save(tmp_path / f"{number}.jpg")
    turned = Image.Exif()
    turned[0x0112], turned[0x010F] = 6, "a camera"  # on its side
    Image.new("RGB", (3000, 1500)).save(tmp_path / "0.JPG", exif=turned)
    (tmp_path / "0.txt").write_text("a shopping list")
    pictures = read_examples(tmp_path)
    assert [picture.width for picture in pictures] == [512, *range(20, 20 + MOST_PICTURES - 1)]
    assert pictures[0].size == (512, 1024) and not pictures[0].getexif() and not pictures[0].info


def test_a_folder_that_has_no_pictures_to_show(tmp_path: Path):
    with pytest.raises(ValueError, match="there is no folder"):
        read_examples(tmp_path / "nothing")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "._a.png").write_bytes(b"of a Mac")
    with pytest.raises(ValueError, match="no picture in .*: files named .avif, .bmp, .*, .jpg are"):
        read_examples(tmp_path)
    (tmp_path / "a.png").write_text("a shopping list")
    with pytest.raises(ValueError, match="a.png: This file cannot be read as a picture"):
        read_examples(tmp_path)
