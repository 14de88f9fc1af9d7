"""The web page as a visitor meets it, in a real browser without a window: chromium and playwright."""

import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


playwright = pytest.importorskip("playwright.sync_api", reason="the tests of the page need the extra `browser`")
pytest.importorskip("gradio", reason="the page needs the extra `demo`")

from common.tiny_page import SENTENCE  # noqa: E402
from transformers import pipeline  # noqa: E402


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium"),
]
SCRIPT = Path(__file__).parents[2] / "scripts" / "demo.py"
QUESTION = "what colour is the circle"
DESKTOP = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
PATIENCE = 120_000  # milliseconds; the machine may be busy
NO_TRACE = re.compile(r"Traceback|File \"|Error:|line \d+")


@contextmanager
def serve(*arguments: str) -> Iterator[str]:
    """Runs the script; gives the page's address."""
    process = subprocess.Popen(
        [sys.executable, "-u", str(SCRIPT), *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if found := re.search(r"http://[\d.]+:\d+", line):
                break
        else:
            pytest.fail("".join(said))
        # What it says later must not fill the pipe.
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield found[0]
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def address(folders: dict[str, str]) -> Iterator[str]:
    models = [
        "--captioner",
        folders["captioner"],
        "--answerer",
        folders["answerer"],
        "--translator",
        folders["translator"],
    ]
    with serve(*models) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    with playwright.sync_playwright() as driver:
        # As root Chromium has no sandbox, and the page is ours.
        camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *camera])
        yield browser
        browser.close()


class Visitor:
    """Somebody before the page."""

    def __init__(self, browser: "playwright.Browser", address: str, **device):
        self.page = browser.new_context(**device).new_page()
        self.page.set_default_timeout(PATIENCE)
        self.asked_elsewhere: list[str] = []
        self.page.on("request", lambda request: self._note(request.url, address))
        self.page.goto(address)
        self.tab = self.page

    def _note(self, url: str, address: str) -> None:
        if not url.startswith((address, "data:", "blob:", address.replace("http", "ws"))):
            self.asked_elsewhere.append(url)

    def open(self, name: str) -> "Visitor":
        self.page.get_by_role("tab", name=name, exact=True).click()
        self.tab = self.page.locator("[role=tabpanel]:visible")
        return self

    def upload(self, path: str) -> "Visitor":
        with self.page.expect_response(lambda response: "/upload" in response.url):
            self.tab.locator("input[type=file]").first.set_input_files(path)
        self.tab.get_by_role("button", name="Clear").or_(self.tab.locator("img")).first.wait_for()
        return self

    def press(self, name: str) -> "Visitor":
        self.tab.get_by_role("button", name=name, exact=True).click()
        return self

    def answer(self) -> str:
        return self.tab.locator(".answer").inner_text()

    def message(self) -> str:
        return self.tab.locator(".note.error").inner_text()

    def words(self) -> list[str]:
        return self.tab.locator(".words b").all_inner_texts()

    def lit(self, layer: str) -> list[int]:
        """Which words' layers are to be seen, once they have faded in."""
        self.tab.locator(".look").evaluate(
            "look => Promise.all(look.getAnimations({subtree: true}).map(each => each.finished))"
        )
        layers = self.tab.locator(f".words {layer}")
        seen = layers.evaluate_all("all => all.map(each => Number(getComputedStyle(each).opacity))")
        assert set(seen) <= {0, 1}
        return [number for number, opacity in enumerate(seen) if opacity]

    def is_too_wide(self) -> bool:
        return self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")


@pytest.fixture
def visitor(browser: "playwright.Browser", address: str) -> Iterator[Visitor]:
    visitor = Visitor(browser, address, **DESKTOP)
    yield visitor
    assert visitor.asked_elsewhere == []
    visitor.page.context.close()


def test_it_listens_on_loopback(address: str):
    assert address.startswith("http://127.0.0.1:")


def test_a_picture_is_uploaded_and_captioned(visitor: Visitor, folders: dict[str, str], photo: str):
    visitor.open("Caption").upload(photo)
    visitor.tab.get_by_role("spinbutton").fill("3")
    visitor.press("Caption")
    [answer] = pipeline("image-to-text", model=folders["captioner"])(
        photo, generate_kwargs={"num_beams": 3}, output_attentions=True
    )
    assert visitor.answer() == answer["generated_text"]
    words = visitor.words()
    assert words == [token.replace("</s>", "end") for token in answer["tokens"]] and len(words) > 3
    assert visitor.lit(".map") == [0]
    visitor.tab.locator(".words b").nth(2).click()
    visitor.page.mouse.move(0, 0)
    assert visitor.lit(".map") == [2]
    visitor.tab.locator(".words b").nth(1).hover()
    assert visitor.lit(".map") == [1]
    visitor.page.mouse.move(0, 0)
    visitor.page.keyboard.press("ArrowRight")
    assert visitor.lit(".map") == [3]
    # The map lies on the picture.
    picture, layer = (visitor.tab.locator(name).first.bounding_box() for name in (".look .picture", ".look .map"))
    assert picture == pytest.approx(layer, abs=1)


def test_a_question_is_typed_and_answered(visitor: Visitor, folders: dict[str, str], photo: str):
    visitor.open("Ask").upload(photo)
    question = visitor.tab.get_by_label("Question").first
    question.fill(QUESTION)
    question.press("Enter")
    assert visitor.answer() == pipeline("vqa", model=folders["answerer"])(photo, QUESTION)[0]["answer"]
    assert visitor.words() == ["look 1", "look 2"]
    visitor.tab.locator(".words b").nth(1).click()
    assert visitor.lit(".map") == [1]


def test_a_sentence_is_typed_and_translated(visitor: Visitor, folders: dict[str, str]):
    visitor.open("Translate")
    visitor.tab.get_by_label("Sentence").first.fill(SENTENCE)
    visitor.tab.get_by_role("spinbutton").fill("2")
    visitor.press("Translate")
    [answer] = pipeline("translation", model=folders["translator"])(SENTENCE, num_beams=2, output_attentions=True)
    assert visitor.answer() == answer["translation_text"]
    visitor.tab.locator(".words b").nth(1).click()
    assert visitor.lit(".layer") == [1]
    shown = visitor.tab.locator(".words .layer").nth(1).locator("small").all_inner_texts()
    assert shown == [f"{100 * weight:.0f} %" if weight >= 0.005 else "" for weight in answer["attentions"][1].tolist()]
    # Every word of the layer lies on the same word of the sentence.
    for base, layer in zip(
        visitor.tab.locator(".look > .sentence i").all(),
        visitor.tab.locator(".words .layer").nth(1).locator("i").all(),
        strict=True,
    ):
        assert base.bounding_box() == pytest.approx(layer.bounding_box(), abs=1)


@pytest.mark.parametrize("tab", ["Caption", "Ask", "Translate"])
@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_an_example_is_picked_and_the_page_fits(tab: str, device: dict, browser: "playwright.Browser", address: str):
    visitor = Visitor(browser, address, **device).open(tab)
    assert not visitor.is_too_wide()
    examples = visitor.tab.locator(".gallery-item, tr.tr-body")
    assert examples.count() == 4
    choose = examples.nth(1).tap if "has_touch" in device else examples.nth(1).click
    choose()
    visitor.tab.locator(".look").wait_for()
    top = visitor.tab.locator(".block.result").bounding_box()["y"]
    assert 0 <= top < device["viewport"]["height"] - 100, "the answer is in sight"
    word = visitor.tab.locator(".words b").nth(1)
    word.tap() if "has_touch" in device else word.click()
    assert visitor.lit(".layer" if tab == "Translate" else ".map") == [1]
    assert not visitor.is_too_wide()
    visitor.page.context.close()


def test_a_file_that_is_no_picture(visitor: Visitor, tmp_path: Path):
    path = tmp_path / "notes.png"
    path.write_text("a shopping list")
    for tab in ("Caption", "Ask"):
        visitor.open(tab).upload(str(path)).press(tab)
        assert visitor.message().startswith("This file cannot be read as a picture")
        assert not NO_TRACE.search(visitor.page.locator("body").inner_text())


def test_nothing_given(visitor: Visitor, photo: str):
    visitor.open("Caption").press("Caption")
    assert visitor.message() == "There is no picture yet: upload or take one."
    visitor.open("Ask").upload(photo).press("Ask")
    assert visitor.message() == "There is no question yet: type one."
    visitor.open("Translate").press("Translate")
    assert visitor.message() == "There is no sentence yet: type one."
    assert not NO_TRACE.search(visitor.page.locator("body").inner_text())


@pytest.mark.parametrize("tab", ["Caption", "Ask"])
def test_a_picture_is_taken(visitor: Visitor, tab: str):
    visitor.open(tab).tab.get_by_role("button", name="Capture from camera").click()
    visitor.tab.get_by_text("Click to Access Webcam").click()
    # Before it shows something there is nothing to take.
    visitor.page.wait_for_function("[...document.querySelectorAll('video')].some(each => each.videoWidth > 0)")
    with visitor.page.expect_response(lambda response: "/upload" in response.url, timeout=20_000):
        visitor.tab.get_by_role("button", name="capture photo").click()
    if tab == "Ask":
        visitor.tab.get_by_label("Question").first.fill(QUESTION)
    visitor.press(tab)
    assert visitor.answer()
    width, height = visitor.tab.locator(".look .picture").evaluate("each => [each.naturalWidth, each.naturalHeight]")
    assert width > height > 100  # as the camera's


def test_one_s_own_pictures_are_examples(browser: "playwright.Browser", folders: dict[str, str], photo: str):
    with serve("--answerer", folders["answerer"], "--examples", str(Path(photo).parent)) as address:
        visitor = Visitor(browser, address, **DESKTOP).open("Ask")
        visitor.tab.locator(".gallery-item").click()
        visitor.tab.locator("img[src*='/file=']:not(.gallery-item *)").wait_for()
        visitor.tab.get_by_label("Question").first.fill(QUESTION)
        visitor.press("Ask")
        [answer, *_] = pipeline("vqa", model=folders["answerer"])(photo, QUESTION)
        assert visitor.answer() == answer["answer"]
        visitor.page.context.close()


def test_tabs_without_a_model_and_a_model_that_writes_its_answers(
    browser: "playwright.Browser", folders: dict[str, str], photo: str
):
    with serve("--answerer", folders["writer"]) as address:
        visitor = Visitor(browser, address, **PHONE)
        for tab, option in (("Caption", "--captioner"), ("Translate", "--translator")):
            assert option in visitor.open(tab).tab.inner_text()
            assert not visitor.is_too_wide()
        visitor.open("Ask").upload(photo)
        visitor.tab.get_by_label("Question").first.fill("how many ?")
        visitor.tab.get_by_role("spinbutton").fill("2")
        visitor.press("Ask")
        [answer] = pipeline("vqa", model=folders["writer"])(photo, "how many ?", generate_kwargs={"num_beams": 2})
        assert visitor.answer() == answer["answer"]
        visitor.tab.locator(".words b").nth(1).tap()
        assert visitor.lit(".map") == visitor.lit(".layer") == [1]
        # The question stands below the picture.
        picture, layer = (visitor.tab.locator(name).first for name in (".look .picture", ".look > .sentence"))
        assert picture.bounding_box()["y"] + picture.bounding_box()["height"] <= layer.bounding_box()["y"]
        assert not visitor.is_too_wide()
        visitor.page.context.close()
