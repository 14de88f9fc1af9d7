"""What the web page shows, without a browser."""

import base64
import io
import json
import re
import runpy
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest


pytest.importorskip("gradio", reason="the page needs the extra `demo`")

import torch  # noqa: E402
from common import tiny_captioner, tiny_models, tiny_text_models, tiny_vqa_models  # noqa: E402
from common.tiny_page import SENTENCE, save_models  # noqa: E402
from packaging.requirements import Requirement  # noqa: E402
from PIL import Image  # noqa: E402
from transformers import pipeline  # noqa: E402

from hf_attention.demo.looks import look_html, picture_view, sentence_view  # noqa: E402
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


class Page(HTMLParser):
    """The words of a look, and what each lays over the picture or the sentence."""

    def __init__(self, text: str):
        super().__init__()
        self.words: list[str] = []
        self.maps: list[Image.Image] = []
        self.weights: list[list[float]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list) -> None:
        attributes = dict(attributes)
        names = (attributes.get("class") or "").split()
        if tag == "img" and "map" in names:
            data = base64.b64decode(attributes["src"].partition(",")[2])
            self.maps.append(Image.open(io.BytesIO(data)))
        if tag == "b":
            self.words.append("")
        if "layer" in names:
            self.weights.append([])
        if tag == "span" and self.weights:
            self.weights[-1].append(float((attributes.get("style") or "--weight: 0").partition(": ")[2]))
        if tag not in ("img", "input"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "b":
            self.words[-1] += data


def brightness(layer: Image.Image) -> np.ndarray:
    """From 0, dark, to 1, by Pillow's laying the layer over white."""
    white = Image.new("RGBA", layer.size, "white")
    levels = np.asarray(Image.alpha_composite(white, layer.convert("RGBA")).convert("L")) / 255
    return (levels - levels.min()) / max(np.ptp(levels), 1e-9)


def grid_boxes(rows: int, columns: int, width: float, height: float) -> torch.Tensor:
    return torch.tensor(
        [
            [x * width / columns, y * height / rows, (x + 1) * width / columns, (y + 1) * height / rows]
            for y in range(rows)
            for x in range(columns)
        ]
    )


# What is shown


def test_the_brightness_of_a_picture_is_linear_in_the_weight_between_the_middles_of_the_regions():
    weights = torch.rand(3, 12)
    weights[0, 0] = 0  # so that the first map's darkest is no weight at all, and one is the largest of all
    weights[0, 11] = 1
    image = Image.new("RGB", (400, 300), "white")
    view = picture_view(image, grid_boxes(3, 4, 400, 300), (3, 4), weights)
    seen = brightness(Page("".join(view.layers)).maps[0])
    grid = weights[0].reshape(3, 4).numpy()
    height, width = seen.shape
    for row in range(0, height, 7):
        for column in range(0, width, 5):
            y = np.clip((row + 0.5) / height * 3 - 0.5, 0, 2)
            x = np.clip((column + 0.5) / width * 4 - 0.5, 0, 3)
            top, left = min(int(y), 1), min(int(x), 2)
            y, x = y - top, x - left
            expected = (1 - y) * ((1 - x) * grid[top, left] + x * grid[top, left + 1])
            expected += y * ((1 - x) * grid[top + 1, left] + x * grid[top + 1, left + 1])
            assert seen[row, column] == pytest.approx(expected, abs=0.01)
    assert ">1<" in view.scale.replace("</i>", ">") or "1</div>" in view.scale


def test_one_scale_for_all_words():
    weights = torch.tensor([[0.0, 0.5], [0.0, 0.25]])
    layers = Page("".join(picture_view(Image.new("RGB", (64, 32)), grid_boxes(1, 2, 64, 32), (1, 2), weights).layers))
    lowest, *_, highest = (np.asarray(layers.maps[0])[0, :, 1]).tolist()
    assert highest == 0 and lowest > 150  # opacity of the dark
    assert np.asarray(layers.maps[1])[0, -1, 1] == pytest.approx(lowest / 2, abs=1)


def test_what_was_cropped_away_is_grey():
    boxes = grid_boxes(1, 2, 50, 100) + torch.tensor([25.0, 0, 25.0, 0])
    view = picture_view(Image.new("RGB", (100, 100)), boxes, (1, 2), torch.tensor([[1.0, 1.0]]))
    levels = np.asarray(Page(view.layers[0]).maps[0])
    width = levels.shape[1]
    for column, is_seen in ((0, False), (width // 5, False), (width // 3, True), (-width // 3, True), (-1, False)):
        assert (levels[:, column, 1] == 0).all() == is_seen
        assert (levels[:, column, 0] > 100).all() != is_seen


@pytest.mark.parametrize("size", [(1, 1), (2000, 3), (3, 2000)])
def test_images_of_extreme_shape(size: tuple[int, int]):
    view = picture_view(Image.new("RGB", size), grid_boxes(2, 2, *size), (2, 2), torch.full((1, 4), 0.25))
    assert len(Page(look_html(["one"], [view], [False], "look")).maps) == 1


def test_a_word_may_be_html():
    word = "<script>alert('&')</script>"
    text = look_html([word], [sentence_view([word, "b"], torch.tensor([[0.25, 0.75]]))], [False], "look")
    page = Page(text)
    assert page.words == [word] and page.weights == [[0.25, 0.75]]
    assert "<script" not in text


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
