"""What a running page reads for its visitors: what they upload, and the examples."""

import io
import json
import re
import threading
from collections.abc import Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


gradio_client = pytest.importorskip("gradio_client", reason="the page needs the extra `demo`")

from common.tiny_page import SENTENCE, RunningPage  # noqa: E402
from PIL import Image  # noqa: E402

from hf_attention.demo.demonstrations import FORMATS, MAX_CHARACTERS, MAX_PIXELS  # noqa: E402
from hf_attention.demo.web_page import MAX_WAITING  # noqa: E402


META = {"_type": "gradio.FileData"}
REFUSED = "error: Only a picture that you upload, or an example, is read."


@pytest.fixture(scope="module")
def elsewhere(photo: str) -> Iterator[tuple[str, list[str]]]:
    """The address of a server that has a picture, and what was asked of it."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if self.path == "/moved":
                self.send_response(302)
                self.send_header("Location", "/photo.png")
                self.end_headers()
            else:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(Path(photo).read_bytes())

        def log_message(self, *args) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()


def unnamed(shown: str) -> str:
    """Without the name that each answer gives its buttons."""
    return re.sub("look-[0-9a-f]{32}", "look", shown)


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def test_the_ways_in_that_gradio_has(running_page: RunningPage, photo: str):
    models, ask = running_page.models, running_page.ask
    picture = running_page.upload(Path(photo).read_bytes())
    expected = unnamed(models["captioner"](photo, 2))
    assert unnamed(ask("caption", picture, 2)) == expected
    url = f"{running_page.address}gradio_api/file={picture['path']}"
    assert unnamed(ask("caption", picture | {"url": url}, 2)) == expected
    client = gradio_client.Client(running_page.address, verbose=False)
    file = gradio_client.handle_file(photo)
    assert unnamed(client.predict(file, 2, api_name="/caption")) == expected
    asked = client.predict(file, "how many ?", 2, api_name="/ask")
    assert unnamed(asked) == unnamed(models["answerer"](photo, "how many ?", 2))
    translated = client.predict(SENTENCE, 1, api_name="/translate")
    assert unnamed(translated) == unnamed(models["translator"](SENTENCE, 1))
    shown = running_page.client.get(f"/gradio_api/file={picture['path']}")
    assert shown.content == Path(photo).read_bytes()


def test_an_example_is_read_and_opens_no_other_door(running_page: RunningPage, photo: str):
    session = "somebody"
    functions = running_page.client.get("/config").json()["dependencies"]
    load = next(each["id"] for each in functions if each["api_name"] == "load_example")
    body = {"fn_index": load, "data": [0], "session_hash": session}
    [example] = running_page.client.post("/gradio_api/run/predict", json=body).raise_for_status().json()["data"]
    assert "look on-picture" in running_page.ask("caption", example["value"], 1, session_hash=session)
    assert running_page.ask("caption", {"path": photo}, 1, session_hash=session) == REFUSED


@pytest.mark.parametrize("meta", [{}, {"meta": META}], ids=["bare", "with meta"])
@pytest.mark.parametrize("name", ["caption", "ask", "translate"])
def test_nothing_that_a_request_names_is_read(
    running_page: RunningPage, elsewhere: tuple[str, list[str]], photo: str, tmp_path: Path, name: str, meta: dict
):
    address, asked = elsewhere
    uploaded = running_page.upload(Path(photo).read_bytes())["path"]
    folder = running_page.page.GRADIO_CACHE
    (Path(folder) / "link.png").unlink(missing_ok=True)
    (Path(folder) / "link.png").symlink_to(photo)
    data_uri = "data:image/png;base64,iVBORw0KGgo="
    named = [
        {"path": f"{address}/photo.png"},
        {"path": f"{address}/moved"},
        {"path": "https://example.com/photo.png"},  # no address of this machine, which gradio refuses by itself
        {"path": photo},
        {"path": str(tmp_path)},
        {"path": str(tmp_path / "nothing.png")},
        {"path": f"file://{photo}"},
        {"path": f"{uploaded}/../../../{photo}"},
        {"path": f"{folder}/link.png"},
        {"path": folder},
        {"path": ""},
        {"path": "a\0b"},
        {"path": "x" * 5000},
        {"path": data_uri},
        {"path": None, "url": f"{address}/photo.png"},
        {"url": f"{address}/photo.png"},
        {"url": data_uri},
        {"path": [photo]},
    ]
    rest = {"caption": [1], "ask": ["how many ?", 1], "translate": [1]}[name]
    # The same is said of all of them: what lies on the machine is not told.
    assert {running_page.ask(name, each | meta, *rest) for each in named} == {REFUSED}
    assert {running_page.ask(name, [each | meta], *rest) for each in named[:4]} == {REFUSED}
    assert asked == []


def test_nothing_is_fetched_or_shown_by_its_path(running_page: RunningPage, elsewhere: tuple, photo: str):
    address, asked = elsewhere
    for path in (
        f"/gradio_api/file={address}/photo.png",
        "/gradio_api/file=https://example.com/photo.png",
        "/gradio_api/file=http%3A%2F%2Fexample.com/photo.png",
        "/gradio_api/file/https://example.com/photo.png",
        f"/gradio_api/proxy={address}/photo.png",
        f"/gradio_api/file={photo}",
        f"/gradio_api/file={running_page.page.GRADIO_CACHE}/../../{photo}",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/run-history/buckets",
    ):
        assert running_page.client.get(path).status_code in (403, 404), path
    assert asked == []


def test_a_request_cannot_step_before_the_queue(running_page: RunningPage):
    body = {"data": [SENTENCE, 1]}
    for path in ("/gradio_api/run/translate", "/gradio_api/api/translate"):
        assert running_page.client.post(path, json=body).status_code == 404


def test_one_at_a_time_and_few_that_wait(running_page: RunningPage, monkeypatch: pytest.MonkeyPatch):
    going, most, lock, wait = [], [], threading.Lock(), threading.Event()

    def slow(self, *values):
        with lock:
            going.append(1)
            most.append(len(going))
        wait.wait(60)
        with lock:
            going.pop()
        return "done"

    for demonstration in running_page.models.values():
        monkeypatch.setattr(type(demonstration), "__call__", slow)

    def ask(number: int) -> str:
        name, values = [("caption", [None, 1]), ("ask", [None, "", 1]), ("translate", ["", 1])][number % 3]
        return running_page.ask(name, *values)

    with futures.ThreadPoolExecutor(3 * MAX_WAITING) as pool:
        answers = [pool.submit(ask, number) for number in range(2 * MAX_WAITING)]
        told = futures.wait(answers, timeout=3).done  # while the first is still at work
        wait.set()
        answers = [each.result() for each in answers]
    assert len(told) >= MAX_WAITING - 2
    assert all("full" in each.result() for each in told), [each.result() for each in told]
    assert answers.count("done") in (MAX_WAITING, MAX_WAITING + 1)
    assert max(most) == 1


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((13_000, 13_000), "13000 x 13000 pixels"),
        ((20_000, 20_000), "has too many pixels"),  # Pillow's own limit
        ((5001, 5000), "at most 25 million are read"),
        ((30_000, 10), "one side may be 20 times the other"),
    ],
)
def test_too_many_pixels_are_not_decoded(
    running_page: RunningPage, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], message: str
):
    content = encoded(Image.new("1", size))
    assert len(content) < 100_000
    monkeypatch.setattr(Image.Image, "convert", lambda *args: pytest.fail("it was decoded"))
    assert message in running_page.ask("caption", running_page.upload(content), 1)
    assert message in running_page.ask("ask", running_page.upload(content), "how many ?", 1)
    assert MAX_PIXELS == 5000 * 5000


def test_only_formats_that_browsers_show(running_page: RunningPage):
    image = Image.new("RGB", (20, 20), "red")
    for kind in ("BMP", "GIF", "JPEG", "PNG", "WEBP"):
        assert "look on-picture" in running_page.ask("caption", running_page.upload(encoded(image, kind)), 1)
    for kind in ("EPS", "TIFF", "PPM", "ICO"):  # for the first Pillow starts Ghostscript
        shown = running_page.ask("caption", running_page.upload(encoded(image, kind)), 1)
        assert "of none of the formats" in shown and ", ".join(FORMATS) in shown
    cut = encoded(image)[:-30]
    assert "damaged, or not whole" in running_page.ask("caption", running_page.upload(cut), 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a " * 100_000, "{kind} is 200000 characters long"),
        (None, "There is no {kind} yet"),
        (" \n", "There is no {kind} yet"),
        (5, "{kind} must be a text"),
        ({"text": "a"}, "{kind} must be a text"),
        ("a \ud800", "half a character"),
    ],
    ids=repr,
)
def test_texts_that_are_not_tokenised(running_page: RunningPage, photo: str, text, message: str):
    picture = running_page.upload(Path(photo).read_bytes())
    assert message.format(kind="sentence") in running_page.ask("translate", text, 1)
    assert message.format(kind="question") in running_page.ask("ask", picture, text, 1)
    assert max(MAX_CHARACTERS.values()) < 100_000


@pytest.mark.parametrize("beams", [0, 9, -1, 1.5, 10**30, "3", None, [1], {}, float("nan"), float("inf")], ids=repr)
def test_beams_out_of_range(running_page: RunningPage, photo: str, beams):
    picture = running_page.upload(Path(photo).read_bytes())
    for name, values in (("caption", [picture]), ("ask", [picture, "how many ?"]), ("translate", [SENTENCE])):
        assert "whole number from 1 to 8" in running_page.ask(name, *values, beams), json.dumps(beams)
