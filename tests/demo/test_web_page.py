"""What is on the web page, without a browser."""

import pytest
from common.tiny_page import RunningPage
from PIL import Image


pytest.importorskip("gradio", reason="the page needs the extra `demo`")

from hf_attention.demo.demonstrations import DEMONSTRATIONS, CaptionDemonstration  # noqa: E402
from hf_attention.demo.web_page import make_page  # noqa: E402


def test_the_page_asks_nothing_of_the_network(folders: dict[str, str]):
    page = make_page(captioner=CaptionDemonstration.load(folders["captioner"]))
    settings = page.get_config_file()
    assert page.analytics_enabled is False
    texts = [each["props"].get("value") for each in settings["components"] if each["type"] == "markdown"]
    missing = [text for text in texts if "without a model" in text]
    assert [part for part in DEMONSTRATIONS if any(f"hf-attention demo --{part} " in text for text in missing)] == [
        "answerer",
        "translator",
    ]
    names = {each["api_name"] for each in settings["dependencies"] if each["api_visibility"] == "public"}
    assert "caption" in names and "ask" not in names


def test_examples_are_of_what_a_model_knows(
    folders: dict[str, str], running_page: RunningPage, monkeypatch: pytest.MonkeyPatch
):
    def inputs(settings: dict) -> list[int]:
        """Of each tab with examples, how many inputs they fill."""
        return [len(each["props"]["components"]) for each in settings["components"] if each["type"] == "dataset"]

    assert inputs(running_page.client.get("/config").json()) == [1, 2, 1]  # of scenes
    monkeypatch.setattr("hf_attention.demo.web_page.scene_variety", lambda tokenizer: None)
    captioner, answerer = (DEMONSTRATIONS[part].load(folders[part]) for part in ("captioner", "answerer"))
    assert inputs(make_page(captioner).get_config_file()) == []
    pictures = [Image.new("RGB", (40, 30))]
    assert inputs(make_page(captioner, answerer, pictures=pictures).get_config_file()) == [1, 1]
