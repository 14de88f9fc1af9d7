"""The page that stands alone, its script run by a real browser: chromium and playwright."""

import shutil
from pathlib import Path

import pytest
import torch
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
    """The page, and what its script complained of."""
    path.write_text(text, encoding="utf-8")
    page, errors = browser.new_page(), []
    page.on("pageerror", lambda error: errors.append(error))
    page.on("request", lambda request: None if request.url.startswith(("file:", "data:")) else errors.append(request))
    page.goto(path.as_uri())
    return page, errors


def test_hovering_over_a_word_lights_its_regions(browser, tmp_path):
    """By its weights, from none to the largest of all words; another word is lit by keyboard; a click holds it."""
    regions = torch.tensor([[0, 0, 20, 20], [20, 0, 40, 20], [0, 20, 20, 40], [20, 20, 40, 40]])
    text = attention_page(WORDS, WEIGHTS, Image.new("RGB", (40, 40), "red"), regions)
    page, errors = open_page(browser, tmp_path / "page.html", text)

    def lit() -> list[float]:
        return [float(each.get_attribute("fill-opacity")) for each in page.locator("[data-region]").all()]

    assert not page.locator("#veil").is_visible()
    for number, word in enumerate(WORDS):
        page.get_by_role("button", name=word, exact=True).hover()
        assert page.locator("#veil").is_visible()
        assert lit() == pytest.approx((WEIGHTS[number] / 0.8).tolist(), abs=1e-4)
    page.mouse.move(0, 0)
    assert not page.locator("#veil").is_visible()
    page.get_by_role("button", name="red").click()
    page.mouse.move(0, 0)
    assert lit() == pytest.approx((WEIGHTS[1] / 0.8).tolist(), abs=1e-4), "held"
    page.get_by_role("button", name="ring").focus()
    assert lit() == pytest.approx((WEIGHTS[2] / 0.8).tolist(), abs=1e-4)
    assert "0.600" in page.locator("#scale").inner_text()
    assert not errors


def test_hovering_over_a_word_colours_the_words_of_the_source(browser, tmp_path):
    text = attention_page(WORDS, WEIGHTS, source_tokens=["ein", "roter", "Ring", "."])
    page, errors = open_page(browser, tmp_path / "page.html", text)
    page.get_by_role("button", name="red").hover()
    colours = page.locator("[data-region]").evaluate_all(
        "all => all.map(each => getComputedStyle(each).backgroundColor)"
    )
    assert colours[0] == "rgb(33, 113, 181)"  # the largest weight of all: no opacity is left out
    assert colours[1].startswith("rgba(33, 113, 181, 0.12")
    assert colours[3] == "rgba(33, 113, 181, 0)"
    assert not errors
