"""Pictures that a table only names, by paths or addresses."""

import io
import logging
import struct
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from hf_attention.training.data import picture_files
from hf_attention.training.data.image_splits import load_captioned_splits


class Handler(BaseHTTPRequestHandler):
    """Serves a picture under any name, but for some."""

    asked: list[str] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path == "/slow.png":
            time.sleep(1)
            return
        if self.path == "/absent.png":
            self.send_error(404)
            return
        content = io.BytesIO()
        Image.new("RGB", (4, 4), (200, 0, 0)).save(content, "PNG")
        self.send_response(200)
        self.end_headers()
        if self.path == "/large.png":
            content = io.BytesIO()
            Image.new("RGB", (4, 4)).save(content, "BMP")
            content.getbuffer()[18:26] = struct.pack("<2i", 20000, 20000)  # what its head says of width and height
        self.wfile.write(b"<html>" if self.path == "/page.png" else content.getvalue())

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """Where a server answers."""
    monkeypatch.setattr(picture_files, "HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(picture_files, "TIMEOUT", 0.3)
    monkeypatch.setattr(Handler, "asked", [])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def table(folder: Path, *names: str) -> str:
    lines = [f"{name},caption {number}\n" for number, name in enumerate(names)]
    path = folder / "photos.csv"
    path.write_text("image,caption\n" + "".join(lines))
    return str(path)


def test_addresses_are_fetched_once(web: str, tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), (0, 0, 99)).save(tmp_path / "own.png")
    name = table(tmp_path, f"{web}/a.png", "own.png", f"{web}/b.png?size=2", f"{web}/a.png", f"{web}/%C3%A9 ü.png")
    for _ in range(2):
        rows = load_captioned_splits(name)["train"]
        assert rows["captions"][:] == [["caption 0", "caption 3"], ["caption 1"], ["caption 2"], ["caption 4"]]
        assert [image.getpixel((0, 0)) for image in rows["image"]] == [(200, 0, 0), (0, 0, 99), *[(200, 0, 0)] * 2]
    assert sorted(Handler.asked) == ["/%C3%A9%20%C3%BC.png", "/a.png", "/b.png?size=2"]


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        ("absent.png", "HTTPError: .*404"),
        ("slow.png", "timed out"),
        ("page.png", "cannot identify image"),
        ("large.png", "400000000 pixels"),
    ],
)
def test_an_address_that_fails_is_named(
    web: str, picture: str, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = table(tmp_path, f"{web}/a.png", f"{web}/{picture}")
    with pytest.raises(ValueError, match=f"1 of 2 rows .*'{web}/{picture}' .*{reason}.*`skip_bad_images` leaves"):
        load_captioned_splits(name)
    with caplog.at_level(logging.WARNING):
        rows = load_captioned_splits(name, skip_missing=True)["train"]
    assert rows["captions"][:] == ["caption 0"]
    assert f"Left out: {name}" in caplog.text and picture in caplog.text
