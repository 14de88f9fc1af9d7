"""The page that stands alone, in a real browser: chromium and playwright."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from common.overlays import colours_over, shares_seen
from PIL import Image

from hf_attention.seeing import attention_page


playwright = pytest.importorskip("playwright.sync_api", reason="the tests of the page need the extra `browser`")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium"),
]
WORDS = ["a", "red", "ring"]
WEIGHTS = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.8, 0.1, 0.1, 0.0], [0.0, 0.0, 0.4, 0.6]])


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def open_page(browser, path: Path, text: str):
    """The page, and what its browser complained of."""
    path.write_text(text, encoding="utf-8")
    page, errors = browser.new_page(), []
    page.on("pageerror", lambda error: errors.append(error))
    page.on("console", lambda message: errors.append(message.text))
    page.on("request", lambda request: None if request.url.startswith(("file:", "data:")) else errors.append(request))
    page.goto(path.as_uri())
    return page, errors


def word(page, text: str):
    return page.locator(".words b").get_by_text(text, exact=True)


def middles(page) -> np.ndarray:
    """Red, green and blue in the middles of the picture's quarters, once it has come to rest."""
    page.wait_for_timeout(400)
    seen = np.asarray(Image.open(io.BytesIO(page.locator(".picture").screenshot())).convert("RGB"))
    height, width = seen.shape[0] // 4, seen.shape[1] // 4
    return seen[height :: 2 * height, width :: 2 * width][:2, :2].reshape(4, 3)


def test_pointing_at_a_word_colours_its_regions(browser, tmp_path):
    """By its weights, from none to the largest of all words; choosing holds it, by mouse and by keyboard."""
    regions = torch.tensor([[0, 0, 20, 20], [20, 0, 40, 20], [0, 20, 20, 40], [20, 20, 40, 40]])
    text = attention_page(WORDS, WEIGHTS, Image.new("RGB", (40, 40), "white"), regions)
    page, errors = open_page(browser, tmp_path / "page.html", text)

    def seen() -> list[float]:
        """The weight of each region as a share of the largest, as a reader sees it; NaN where it is not coloured."""
        return shares_seen(middles(page) / 255, 1.0).tolist()

    def weights(number: int) -> list[float]:
        return pytest.approx((WEIGHTS[number] / 0.8).tolist(), abs=0.02)

    assert np.isnan(seen()).all()
    for number, each in enumerate(WORDS):
        word(page, each).hover()
        assert seen() == weights(number)
    page.mouse.move(0, 0)
    assert np.isnan(seen()).all()
    word(page, "red").click()
    page.mouse.move(0, 0)
    assert seen() == weights(1), "held"
    assert page.locator(".largest").nth(1).inner_text() == "largest weight 0.800"
    page.keyboard.press("ArrowRight")
    assert seen() == weights(2)
    chosen = page.get_by_role("radio", checked=True)
    assert chosen.get_attribute("title") == "largest weight 0.600"
    assert page.get_by_role("radio", name="ring", exact=True, checked=True).count() == 1
    word(page, "the picture").click()
    page.mouse.move(0, 0)
    assert np.isnan(seen()).all()
    assert "0.8" in page.locator(".scale").inner_text()
    assert not errors


def test_a_picture_is_nearly_in_grey_under_a_word(browser, tmp_path):
    """In its own colours before, so that a red thing that was not looked at is not taken for attention."""
    regions = torch.tensor([[0, 0, 20, 20], [20, 0, 40, 20], [0, 20, 20, 40], [20, 20, 40, 40]])
    text = attention_page(["a"], torch.tensor([[0.0, 0.0, 0.0, 1.0]]), Image.new("RGB", (40, 40), "red"), regions)
    page, errors = open_page(browser, tmp_path / "page.html", text)
    assert middles(page).tolist() == [[255, 0, 0]] * 4
    word(page, "a").hover()
    red = np.array([255 - 0.75 * (255 - 54), 0.75 * 54, 0.75 * 54]) / 255  # Filter Effects Module, `grayscale(0.75)`
    expected = colours_over(red, np.array([0.0, 0.0, 0.0, 1.0]))
    assert middles(page) / 255 == pytest.approx(expected, abs=0.02)
    assert not errors


def test_pointing_at_a_word_colours_the_words_of_the_source(browser, tmp_path):
    text = attention_page(WORDS, WEIGHTS, source_tokens=["ein", "roter", "Ring", "."])
    page, errors = open_page(browser, tmp_path / "page.html", text)
    layers = page.locator(".words .layer")

    def shown() -> list[int]:
        page.wait_for_timeout(400)
        opacities = layers.evaluate_all("all => all.map(each => getComputedStyle(each).opacity)")
        return [number for number, opacity in enumerate(opacities) if opacity == "1"]

    def darkest() -> int:
        """How dark the darkest place of the source is, as a reader sees it."""
        seen = page.screenshot(clip=page.locator(".look > .sentence").bounding_box())
        return int(np.asarray(Image.open(io.BytesIO(seen)).convert("L")).min())

    assert shown() == [0] and darkest() < 60, "the source is read before a word is chosen"
    word(page, "red").hover()
    assert shown() == [2] and darkest() < 60
    layer = layers.nth(2).locator("span")
    colours = layer.evaluate_all("all => all.map(each => getComputedStyle(each).backgroundColor)")
    opacities = [float(colour.split("/")[1].strip(" )")) if "/" in colour else 1.0 for colour in colours]
    assert opacities == pytest.approx((WEIGHTS[1] / 0.8).tolist(), abs=2e-3)
    assert layers.nth(2).locator("small").all_inner_texts() == ["80 %", "10 %", "10 %", ""]
    page.mouse.move(0, 0)
    assert shown() == [0]
    assert not errors


@pytest.mark.parametrize("direction", [1, -1], ids=["from left to right", "from right to left"])
def test_words_run_as_they_are_read(direction, browser, tmp_path):
    words = ["one", "two", "3"] if direction == 1 else ["\u05d0\u05d7\u05ea", "\u05e9\u05ea\u05d9\u05dd", "3"]
    page, errors = open_page(browser, tmp_path / "page.html", attention_page(words, torch.eye(3), source_tokens=words))
    word(page, words[0]).click()  # a layer that is not shown has no place
    for places in (".words b", ".look > .sentence span", ".words .layer >> nth=1 >> span"):
        across = [direction * each.bounding_box()["x"] for each in page.locator(places).all()]
        assert len(across) >= 3 and across == sorted(across)
    layer = page.locator(".words .layer").nth(1)
    for base, each in zip(page.locator(".look > .sentence span").all(), layer.locator("span").all(), strict=True):
        assert base.bounding_box() == pytest.approx(each.bounding_box(), abs=1)
    assert not errors
