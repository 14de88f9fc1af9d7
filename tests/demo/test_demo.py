"""What the web page shows, without a browser."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest


pytest.importorskip("gradio", reason="the page needs the extra `demo`")

from common import tiny_captioner, tiny_models, tiny_text_models, tiny_vqa_models  # noqa: E402
from common.tiny_page import SENTENCE, save_models  # noqa: E402
from packaging.requirements import Requirement  # noqa: E402
from transformers import pipeline  # noqa: E402

from hf_attention.demo.page import (  # noqa: E402
    AnswerDemonstration,
    CaptionDemonstration,
    PageError,
    TranslationDemonstration,
    make_page,
)
from hf_attention.demo.space import write_space  # noqa: E402


ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def photo(tmp_path: Path) -> str:
    path = tmp_path / "photo.png"
    tiny_models.make_pictures()["circle"].save(path)
    return str(path)


# What the models do


def test_a_caption_and_where_the_model_looked(folders: dict[str, str], photo: str):
    shown = CaptionDemonstration.load(folders["captioner"])(photo, 3)
    [answer] = pipeline("image-to-text", model=folders["captioner"])(
        photo, generate_kwargs={"num_beams": 3}, output_attentions=True
    )
    page = Page(shown)
    assert answer["generated_text"] in shown
    assert page.words == [token.replace("</s>", "end") for token in answer["tokens"]]
    for layer, weights in zip(page.maps, answer["attentions"], strict=True):
        seen = brightness(layer)
        height, width = seen.shape
        middles = seen[height // 8 :: height // 4, width // 8 :: width // 4]
        assert middles.flatten().argsort().tolist()[-1] == weights.argmax()


def test_an_answer_and_where_the_model_looked(folders: dict[str, str], photo: str):
    question = "what colour is the circle"
    shown = AnswerDemonstration.load(folders["answerer"])(photo, question)
    answers = pipeline("vqa", model=folders["answerer"])(photo, question)
    assert f'<p class="answer" dir="auto">{answers[0]["answer"]}</p>' in shown
    assert [f"{100 * each['score']:.1f} %" in shown for each in answers] == [True] * 5
    page = Page(shown)
    assert page.words == ["look 1", "look 2"] and len(page.maps) == 2


def test_a_written_answer_and_the_words_of_the_question(folders: dict[str, str], photo: str):
    shown = AnswerDemonstration.load(folders["writer"])(photo, "how many ?", 2)
    [answer] = pipeline("vqa", model=folders["writer"])(
        photo, "how many ?", generate_kwargs={"num_beams": 2}, output_attentions=True
    )
    page = Page(shown)
    assert page.words == [token.replace("</s>", "end") for token in answer["tokens"]]
    assert len(page.maps) == len(page.words)
    np.testing.assert_allclose(page.weights, answer["word_attentions"], atol=6e-4)


def test_a_translation_and_what_the_model_looked_at(folders: dict[str, str]):
    shown = TranslationDemonstration.load(folders["translator"])(SENTENCE, 2)
    [answer] = pipeline("translation", model=folders["translator"])(SENTENCE, num_beams=2, output_attentions=True)
    page = Page(shown)
    assert answer["translation_text"] in shown
    assert page.words == [token.replace("</s>", "end") for token in answer["tokens"]]
    np.testing.assert_allclose(page.weights, answer["attentions"], atol=6e-4)


def test_the_beams_of_the_checkpoint_are_the_page_s(folders: dict[str, str], tmp_path: Path):
    model = tiny_captioner.make_model()
    model.generation_config.num_beams = 7
    model.save_pretrained(tmp_path)
    tiny_captioner.make_processor().save_pretrained(tmp_path)
    assert CaptionDemonstration.load(str(tmp_path)).beams == 7
    assert CaptionDemonstration.load(folders["captioner"]).beams == 1
    assert TranslationDemonstration.load(folders["translator"]).beams == 4  # the task's


# Models that do not say where they looked


@pytest.mark.parametrize("name", ["blip", "vision_encoder_decoder"])
def test_a_captioner_of_transformers_captions(name: str, photo: str, tmp_path: Path):
    folder = tiny_models.save_tiny_model(name, tmp_path)
    demonstration = CaptionDemonstration.load(str(folder))
    demonstration.pipe.model.generation_config.max_new_tokens = 5
    shown = demonstration(photo, 1)
    assert pipeline("image-to-text", model=str(folder), max_new_tokens=5)(photo)[0]["generated_text"] in shown
    assert "Where it looked cannot be shown." in shown and not Page(shown).maps


def test_an_answering_model_of_transformers_answers(photo: str, tmp_path: Path):
    folder = str(tiny_vqa_models.save_tiny_model("vilt", tmp_path))
    shown = AnswerDemonstration.load(folder)(photo, "the dog")
    assert pipeline("vqa", model=folder)(photo, "the dog")[0]["answer"] in shown
    assert "Where it looked cannot be shown." in shown


def test_a_translator_of_transformers_says_what_it_looked_at(tmp_path: Path):
    demonstration = TranslationDemonstration.load(str(tiny_text_models.save_tiny_model("marian", tmp_path)))
    page = Page(demonstration("the dog runs", 1))
    assert len(page.weights) == len(page.words) > 1
    np.testing.assert_allclose(np.sum(page.weights, 1), 1, atol=0.01)


def test_without_attention_there_is_a_caption(photo: str, tmp_path: Path):
    tiny_captioner.make_model(attention_type=None).save_pretrained(tmp_path)
    tiny_captioner.make_processor().save_pretrained(tmp_path)
    demonstration = CaptionDemonstration.load(str(tmp_path))
    demonstration.pipe.model.generation_config.max_new_tokens = 5
    assert "Where it looked cannot be shown." in demonstration(photo, 1)


# What visitors do wrong


def test_no_picture_no_question_no_sentence(folders: dict[str, str], photo: str, tmp_path: Path):
    captioner = CaptionDemonstration.load(folders["captioner"])
    answerer = AnswerDemonstration.load(folders["answerer"])
    with pytest.raises(PageError, match="no picture yet"):
        captioner(None, 1)
    with pytest.raises(PageError, match="no picture yet"):
        answerer(None, "how many ?")
    for question in ("", "  \n"):
        with pytest.raises(PageError, match="no question yet"):
            answerer(photo, question)
        with pytest.raises(PageError, match="no sentence yet"):
            TranslationDemonstration.load(folders["translator"])(question, 1)
    notes = tmp_path / "notes.png"
    for content in (b"", b"a shopping list"):
        notes.write_bytes(content)
        with pytest.raises(PageError, match="cannot be read as a picture") as caught:
            captioner(str(notes), 1)
        assert str(tmp_path) not in str(caught.value)  # the server's folders are nobody's business


def test_the_page_asks_nothing_of_the_network(folders: dict[str, str]):
    page = make_page(captioner=CaptionDemonstration.load(folders["captioner"]))
    settings = page.get_config_file()
    assert page.analytics_enabled is False
    texts = [each["props"].get("value") for each in settings["components"] if each["type"] == "markdown"]
    assert sum("without a model" in text for text in texts) == 2  # the tabs that have none
    names = {each["api_name"] for each in settings["dependencies"] if each["api_visibility"] == "public"}
    assert "caption" in names and "ask" not in names


# The script


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--captioner", "no/such/folder"], "the captioner 'no/such/folder' does not load: "),
        (["--captioner", "{answerer}"], "the captioner '{answerer}' does not load: "),
        (["--answerer", "{captioner}"], "the answerer '{captioner}' does not load: "),
        (["--write_space", "space"], "a Space needs a model"),
        (["--write_space", "{captioner}", "--answerer", "a/b"], "{captioner} must be a new or an empty folder"),
    ],
)
def test_what_the_script_cannot_do_is_said(
    arguments: list[str],
    message: str,
    folders: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
):
    monkeypatch.setattr(sys, "argv", ["demo.py", *(argument.format_map(folders) for argument in arguments)])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / "scripts" / "demo.py"), run_name="__main__")
    assert stopped.value.code == 2
    assert message.format_map(folders) in capsys.readouterr().err


def test_a_space_has_all_it_needs(folders: dict[str, str], tmp_path: Path):
    space = tmp_path / "space"
    (Path(folders["captioner"]) / "optimizer.bin").write_bytes(b"a pickle")
    write_space(space, {"captioner": folders["captioner"], "translator": "someone/translator"}, "translation_en_to_de")
    compile((space / "app.py").read_text(), "app.py", "exec")
    assert (
        "TranslationDemonstration.load('someone/translator', 'translation_en_to_de')" in (space / "app.py").read_text()
    )
    requirements = {*map(Requirement, (space / "requirements.txt").read_text().split())}
    tomllib = pytest.importorskip("tomllib", reason="before Python 3.11 nothing reads pyproject.toml")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    expected = [*project["dependencies"], *project["optional-dependencies"]["demo"]]
    assert requirements == {*map(Requirement, expected)}
    model = space / "models" / "captioner"
    assert json.loads((model / "config.json").read_text())["model_type"] == "attention_captioner"
    assert (model / "model.safetensors").is_file() and not (model / "optimizer.bin").exists()
    card = (space / "README.md").read_text()
    assert re.search(r"^sdk: gradio$", card, re.M) and re.search(r"^- someone/translator$", card, re.M)
    assert not list(space.rglob("__pycache__"))
    with pytest.raises(ValueError, match="a new or an empty folder"):
        write_space(space, {})


@pytest.mark.slow
def test_a_space_runs_by_itself(folders: dict[str, str], photo: str, tmp_path: Path):
    write_space(tmp_path / "space", {"captioner": folders["captioner"], "answerer": folders["answerer"]})
    code = (
        "import hf_attention, runpy, sys; print(hf_attention.__file__); "
        "page = runpy.run_path('app.py')['page']; "
        "caption = next(function for function in page.fns.values() if function.api_name == 'caption'); "
        f"print(caption.fn({photo!r}, 1))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "space", capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    file, shown = result.stdout.split("\n", 1)
    assert Path(file).is_relative_to(tmp_path / "space")
    assert Page(shown).words
