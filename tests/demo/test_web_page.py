"""What is on the web page, without a browser."""

import pytest


pytest.importorskip("gradio", reason="the page needs the extra `demo`")

from hf_attention.demo.demonstrations import DEMONSTRATIONS, CaptionDemonstration  # noqa: E402
from hf_attention.demo.web_page import make_page  # noqa: E402


def test_the_page_asks_nothing_of_the_network(folders: dict[str, str]):
    page = make_page(captioner=CaptionDemonstration.load(folders["captioner"]))
    settings = page.get_config_file()
    assert page.analytics_enabled is False
    texts = [each["props"].get("value") for each in settings["components"] if each["type"] == "markdown"]
    missing = [text for text in texts if "without a model" in text]
    assert [part for part in DEMONSTRATIONS if any(f"demo.py --{part} " in text for text in missing)] == [
        "answerer",
        "translator",
    ]
    names = {each["api_name"] for each in settings["dependencies"] if each["api_visibility"] == "public"}
    assert "caption" in names and "ask" not in names
