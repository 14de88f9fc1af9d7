"""The web page, running, and what visitors may send it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import strategies as st
from PIL import Image


pytest.importorskip("gradio", reason="the page needs the extra `demo`")

from common.tiny_page import SENTENCE, RunningPage, save_models  # noqa: E402

from .cases import bounded, odd_pictures, odd_texts, odd_values  # noqa: E402
from .verdict import Outcome, Verdict  # noqa: E402


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPage]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
        page = RunningPage(save_models(tmp_path_factory.mktemp("models")))
        yield page
        page.close()


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture that nobody has uploaded."""
    path = tmp_path_factory.mktemp("home") / "secret.png"
    Image.new("RGB", (32, 32), "red").save(path)
    return path


def judge(verdict: Verdict, kind: str, name: object, answer: str) -> None:
    if answer.startswith("<p") or "The model wrote nothing" in answer:
        outcome = Outcome.FINE
    elif 'role="alert"' in answer or "Only a picture that you upload" in answer:
        outcome = Outcome.CLEAR
    elif answer == "error: None":  # gradio's own, of what is no value of the component, and of what broke within
        outcome = Outcome.VAGUE
    else:
        outcome = Outcome.INSIDE
    verdict.add(kind, name, outcome, answer[:200] if outcome not in (Outcome.FINE, Outcome.CLEAR) else "")


def test_uploads(verdict: Verdict, page: RunningPage) -> None:
    @bounded(60)
    def try_one(name: str, picture: tuple[str, bytes]) -> None:
        values = [page.upload(picture[1]), *(["how many ?"] if name == "ask" else []), 1]
        judge(verdict, f"page: upload, {name}", picture[0], page.ask(name, *values))

    try_one(name=st.sampled_from(["caption", "ask"]), picture=odd_pictures())


def test_texts(verdict: Verdict, page: RunningPage, secret: Path) -> None:
    uploaded = page.upload(secret.read_bytes())

    @bounded(60)
    def try_one(name: str, text: object) -> None:
        values = [text, 1] if name == "translate" else [uploaded, text, 1]
        judge(verdict, f"page: text, {name}", f"{text!r:.60}", page.ask(name, *values))

    try_one(name=st.sampled_from(["ask", "translate"]), text=odd_texts | odd_values)


def test_beams(verdict: Verdict, page: RunningPage) -> None:
    @bounded(30)
    def try_one(beams: object) -> None:
        judge(verdict, "page: beams", f"{beams!r:.60}", page.ask("translate", SENTENCE, beams))

    try_one(beams=odd_values)


def test_named_files(verdict: Verdict, page: RunningPage, secret: Path) -> None:
    shown = page.models["captioner"](str(secret), 1).partition("</p>")[0]

    @bounded(80)
    def try_one(place: str, fields: dict[str, object], is_nested: bool) -> None:
        value = {"path": place, **fields}
        answer = page.ask("caption", {"path": value} if is_nested else value, 1)
        if shown in answer:
            verdict.add("page: named file", json.dumps(value), Outcome.WRONG, "a file was read that nobody uploaded")
        else:
            judge(verdict, "page: named file", json.dumps(value), answer)

    places = [secret, secret.parent, f"file://{secret}", f"http://127.0.0.1:9/{secret.name}", "/etc/passwd", "", "/"]
    places += [
        f"{page.page.GRADIO_CACHE}/../{secret.parent.name}/{secret.name}",
        f"{secret}\0",
        "data:image/png;base64,AA",
    ]
    try_one(
        place=st.sampled_from([str(place) for place in places]) | odd_texts,
        fields=st.fixed_dictionaries(
            {},
            optional={
                "meta": st.sampled_from([{"_type": "gradio.FileData"}, {}, {"_type": "x"}]),
                "url": st.sampled_from([f"file://{secret}", "http://127.0.0.1:9/a.png", "data:image/png;base64,AA"]),
                "is_stream": st.booleans(),
                "orig_name": st.sampled_from(["../../x.png", "x"]),
                "mime_type": st.sampled_from(["image/svg+xml", "text/html"]),
                "size": st.integers(-1, 10**9),
            },
        ),
        is_nested=st.booleans(),
    )
