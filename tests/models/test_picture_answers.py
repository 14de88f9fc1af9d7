"""
The pipelines that look at pictures answer as those of transformers 4.57 did: every family, in both styles of folder.
"""

from pathlib import Path

import pytest
from common import (
    image_to_text_calls,
    picture_differences,
    tiny_image_to_text_models,
    tiny_vqa_models,
    vqa_calls,
)
from common.answers_of_4_57 import families, is_same, recorded
from common.folder_styles import STYLES
from common.image_to_text_calls import SHORT, SQUARE, WORDS
from common.picture_bench import Bench, Call, answer
from common.picture_differences import Difference, is_explained
from common.tiny_vqa_models import QUESTIONS
from transformers import AutoProcessor


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def assert_explained(
    bench: Bench, calls: dict[str, Call], expected: dict[str, object], differences: list[Difference]
) -> None:
    assert calls.keys() == expected.keys(), "record anew: scripts/record_pipeline_answers.py"
    got = {name: answer(call, bench) for name, call in calls.items()}
    assert {
        name: (got[name], expected[name])
        for name in calls
        if not is_same(got[name], expected[name]) and not is_explained(bench.name, name, got[name], differences)
    } == {}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("family", tiny_image_to_text_models.MODELS)
def test_image_to_text(family: str, style: str, root: Path) -> None:
    bench = Bench("image-to-text", family, tiny_image_to_text_models.MODELS, style, root)
    expected = recorded("image_to_text")[family][style]
    assert_explained(bench, image_to_text_calls.asked(family, style), expected, picture_differences.IMAGE_TO_TEXT)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("family", tiny_vqa_models.MODELS)
def test_visual_question_answering(family: str, style: str, root: Path) -> None:
    bench = Bench(
        "visual-question-answering", family, tiny_vqa_models.MODELS, style, root / "vqa", **vqa_calls.ARGUMENTS
    )
    expected = recorded("visual_question_answering")[family][style]
    assert_explained(bench, vqa_calls.asked(family, style), expected, picture_differences.VISUAL_QUESTION_ANSWERING)


def test_every_family_is_asked() -> None:
    """Those of 4.57's own lists; a few cannot be asked, for a reason."""
    asked = tiny_image_to_text_models.MODELS.keys() | tiny_image_to_text_models.LEFT_OUT.keys()
    assert set(families("image_to_text")) <= asked
    assert set(families("visual_question_answering")) <= tiny_vqa_models.MODELS.keys()


@pytest.mark.parametrize("task", ["image_to_text", "visual_question_answering"])
def test_differences_are_of_what_is_asked(task: str) -> None:
    answers = recorded(task)
    for difference in getattr(picture_differences, task.upper()):
        for family in difference.families:
            assert set(difference.calls) <= answers[family]["new"].keys()


def test_differences_are_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "dropped_tasks.md").read_text()
    for difference in (*picture_differences.IMAGE_TO_TEXT, *picture_differences.VISUAL_QUESTION_ANSWERING):
        assert difference.why in page


@pytest.mark.parametrize("family", ["llava", "llava_next", "vipllava"])
def test_a_prompt_says_where_the_picture_is(family: str, tmp_path: Path) -> None:
    """By one token. 4.57 answered where there were as many as the model reads."""
    bench = Bench("image-to-text", family, tiny_image_to_text_models.MODELS, "new", tmp_path)
    [record] = bench.pipe(bench.pictures[SQUARE], prompt=f"<image>{WORDS}", **SHORT)
    expected = recorded("image_to_text")[family]["new"]["prompt with the image's tokens"]
    assert [record["generated_text"]] == expected


@pytest.mark.parametrize("family", ["blip-2", "blip-2 with t5", "llava", "idefics3"])
def test_a_prompt_is_about_the_picture(family: str, tmp_path: Path) -> None:
    bench = Bench("image-to-text", family, tiny_image_to_text_models.MODELS, "new", tmp_path)
    processor = AutoProcessor.from_pretrained(bench.folder)
    text = WORDS if family.startswith("blip") else f"<image>{WORDS}"
    for picture in bench.pictures:
        tokens = bench.pipe.model.generate(**processor(images=picture, text=text, return_tensors="pt"), **SHORT)
        expected = processor.batch_decode(tokens, skip_special_tokens=True)
        assert [record["generated_text"] for record in bench.pipe(picture, prompt=WORDS, **SHORT)] == expected


@pytest.mark.parametrize("family", ["blip-2", "blip-2 with t5"])
def test_a_question_is_about_the_picture(family: str, tmp_path: Path) -> None:
    """In a batch, too, the answer comes right behind the question."""
    bench = Bench("visual-question-answering", family, tiny_vqa_models.MODELS, "new", tmp_path, **vqa_calls.ARGUMENTS)
    processor = AutoProcessor.from_pretrained(bench.folder)
    pairs = [{"image": picture, "question": question} for picture in bench.pictures for question in QUESTIONS]
    expected = []
    for pair in pairs:
        inputs = processor(images=pair["image"], text=pair["question"], return_tensors="pt")
        tokens = bench.pipe.model.generate(**inputs, **vqa_calls.ARGUMENTS)
        expected.append([{"answer": processor.decode(tokens[0], skip_special_tokens=True)}])
    for batch_size in (1, 2, 3):
        assert bench.pipe(pairs, batch_size=batch_size) == expected
