"""Folders of saved models in which a file is damaged or a field is odd: loaded as they are, or refused in words."""

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from common.tiny_page import save_models
from huggingface_hub.errors import StrictDataclassFieldValidationError
from hypothesis import strategies as st
from safetensors import SafetensorError
from transformers import AutoConfig, pipeline

from .cases import bounded, changed_bytes, odd_values
from .verdict import Outcome, Verdict


TASKS = {"captioner": "image-to-text", "answerer": "vqa", "writer": "vqa", "translator": "translation"}
over_models = pytest.mark.parametrize("name", TASKS)
# What reads the files of every model, and says what is wrong with them in words of its own.
WORDS = (".json", ".safetensors", "config", "header", "tokenizer", "shape", "size")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return save_models(tmp_path_factory.mktemp("models"))


def attempt(verdict: Verdict, kind: str, name: str, function: Callable[[], object], words: tuple[str, ...]) -> None:
    """As [`Verdict.attempt`], where what transformers and huggingface_hub check by themselves is clear, too."""
    cases = Verdict()
    caught: list[Exception] = []

    def call() -> None:
        try:
            function()
        except Exception as error:
            caught.append(error)
            raise

    outcome = cases.attempt(kind, name, call, words)
    if outcome is Outcome.INSIDE and name.startswith("tokenizer"):
        outcome = Outcome.VAGUE  # transformers reads these files before it asks anything of the model
    checks = (OSError, StrictDataclassFieldValidationError, SafetensorError, TypeError, ValueError)
    if outcome is Outcome.INSIDE and isinstance(caught[0], checks) and any(word in str(caught[0]) for word in words):
        outcome = Outcome.CLEAR
    verdict.add(kind, name, outcome, cases.cases[0].message)


@over_models
def test_damaged_files(verdict: Verdict, folders: dict[str, str], name: str) -> None:
    files = sorted(path.name for path in Path(folders[name]).iterdir() if path.suffix in (".json", ".safetensors"))

    @bounded(30)
    def try_one(file: str, change: Callable[[bytes], bytes]) -> None:
        with tempfile.TemporaryDirectory() as directory:
            folder = shutil.copytree(folders[name], Path(directory) / name)
            path = folder / file
            try:
                path.write_bytes(change(path.read_bytes()))
            except UnicodeDecodeError:  # weights are no text
                return
            attempt(
                verdict,
                f"saved folder, damaged: {name}",
                f"{file} {change}",
                lambda: pipeline(TASKS[name], model=str(folder)),
                (*WORDS, file),
            )

    try_one(file=st.sampled_from(files), change=changed_bytes)


@over_models
def test_odd_fields(verdict: Verdict, folders: dict[str, str], name: str) -> None:
    settings = json.loads((Path(folders[name]) / "config.json").read_text())
    known = sorted(
        set(settings) - {"model_type", "transformers_version", "auto_map", "custom_pipelines", "architectures"}
    )

    @bounded(60)
    def try_one(field: str, value: Any) -> None:
        with tempfile.TemporaryDirectory() as directory:
            (Path(directory) / "config.json").write_text(json.dumps({**settings, field: value}))

            def make() -> None:
                config = AutoConfig.from_pretrained(directory)
                with torch.device("meta"):
                    type(pipes[name].model)(config)

            attempt(verdict, f"configuration: {name}", f"{field}={value!r:.60}", make, (field, "config"))

    pipes = {name: pipeline(TASKS[name], model=folders[name])}
    try_one(field=st.sampled_from(known), value=odd_values)
