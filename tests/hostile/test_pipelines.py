"""Pipelines and processors, given odd pictures and odd texts."""

from pathlib import Path
from typing import Any

import pytest
from common.tiny_page import save_models
from hypothesis import strategies as st
from PIL import Image
from transformers import Pipeline, pipeline

from hf_attention.models.pictures import read_image

from .cases import bounded, odd_pictures, odd_texts, odd_values
from .verdict import Verdict


@pytest.fixture(scope="module")
def pipes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pipeline]:
    folders = save_models(tmp_path_factory.mktemp("models"))
    tasks = {"captioner": "image-to-text", "answerer": "vqa", "writer": "vqa", "translator": "translation"}
    return {name: pipeline(task, model=folders[name]) for name, task in tasks.items()}


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return Image.new("RGB", (32, 32), "red")


@pytest.mark.parametrize("name", ["captioner", "answerer", "writer"])
def test_pictures(verdict: Verdict, pipes: dict[str, Pipeline], tmp_path: Path, name: str) -> None:
    path = tmp_path / "odd.png"
    questions = [] if name == "captioner" else ["what ?"]

    @bounded(50)
    def try_one(picture: tuple[str, bytes]) -> None:
        path.write_bytes(picture[1])
        words = ["odd.png", "picture"]
        case = f"pipeline, odd picture: {name}"
        verdict.attempt(case, picture[0], lambda: pipes[name](str(path), *questions), words)

    try_one(picture=odd_pictures())


@pytest.mark.parametrize("name", ["captioner", "answerer", "writer", "translator"])
def test_values(verdict: Verdict, pipes: dict[str, Pipeline], photo: Image.Image, name: str) -> None:
    def call(value: Any, as_picture: bool) -> object:
        if name == "translator":
            return pipes[name](value)
        if name == "captioner":
            return pipes[name](value)
        return pipes[name](value, "what ?") if as_picture else pipes[name](photo, value)

    @bounded(60)
    def try_one(value: Any, as_picture: bool) -> None:
        words = ["image", "picture", "question", "text", "string", "sentence", "source", "input"]
        case = f"{value!r:.60}" + (" as picture" if as_picture else "")
        verdict.attempt(f"pipeline, odd value: {name}", case, lambda: call(value, as_picture), words)

    try_one(value=odd_texts | odd_values, as_picture=st.booleans())


def test_read_image(verdict: Verdict) -> None:
    @bounded(100)
    def try_one(value: Any) -> None:
        verdict.attempt("read_image", f"{value!r:.60}", lambda: read_image(value, timeout=1), ["image"])

    try_one(value=odd_texts | odd_values)
