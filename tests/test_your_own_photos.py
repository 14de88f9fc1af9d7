"""
`docs/your_own_photos.md`, done as it is written: every command and every block, one after the other. Training ends
after a few steps.
"""

import csv
import re
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from common.scripts import SCRIPTS
from transformers import MobileNetV2Config, MobileNetV2Model

from hf_attention.models.versions import pillow_image_processor
from hf_attention.scenes import make_scene_questions, make_scenes
from hf_attention_command_line.main import main


PAGE = SCRIPTS.parent / "docs" / "your_own_photos.md"
# They go to the Hub, and wait for visitors; what they do has tests of its own.
LEFT_OUT = ("push", "demo")
SHORT = ["--max_steps", "2"]


def write_table(file: Path, header: str, rows: Iterable[tuple[Any, ...]]) -> None:
    """Rows whose first fields are pictures, which are written beside the table."""
    file.parent.mkdir()
    with file.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(header.split(","))
        for number, (image, *texts) in enumerate(rows):
            image.save(file.parent / f"IMG_{number:04}.jpg")
            writer.writerow([f"IMG_{number:04}.jpg", *texts])


@pytest.fixture
def backbone(tmp_path: Path) -> Path:
    """A vision model in place of the one that the page downloads."""
    folder = tmp_path / "backbone"
    MobileNetV2Model(MobileNetV2Config(image_size=224, depth_multiplier=0.1, min_depth=2)).save_pretrained(folder)
    pillow_image_processor("ViTImageProcessor")(size={"height": 224, "width": 224}).save_pretrained(folder)
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the reader has: photos with captions, photos with questions, a photo."""
    counts = {"train": 10, "validation": 0, "test": 0, "held_out": 0, "image_size": 64}
    scenes = make_scenes(**counts)["train"]
    rows = ((row["image"], row["captions"][0]) for row in scenes)
    write_table(tmp_path / "photos" / "captions.txt", "image,caption", rows)
    questions = make_scene_questions(**counts, questions_per_scene=1)["train"]
    rows = ((row["image"], row["question"], row["answer"]) for row in questions)
    write_table(tmp_path / "rooms" / "questions.csv", "image,question,answer", rows)
    scenes[0]["image"].save(tmp_path / "my_photo.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_does_what_it_says(
    here: Path, backbone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    pytest.importorskip("pycocoevalcap", reason="a captioner is validated with the extra `metrics`")
    text = PAGE.read_text(encoding="utf-8").replace("\\\n", " ")
    done: list[str] = []
    torch.manual_seed(0)
    for language, block in re.findall("```(\\w*)\n(.*?)```", text, re.DOTALL):
        if language == "python":
            exec(compile(block, PAGE.name, "exec"), {})
            continue
        for line in block.splitlines():
            words = shlex.split(line)
            if words[0] != "hf-attention" or words[1] in LEFT_OUT:
                continue
            words = [str(backbone) if word == "google/mobilenet_v2_1.0_224" else word for word in words]
            words += SHORT if words[1] == "train" else []
            AcceleratorState._reset_state(reset_partial_state=True)
            monkeypatch.setattr(sys, "argv", words)
            assert main(words[1:]) in (0, None), capsys.readouterr().err
            done.append(words[1])
    assert done == ["train", "caption", "evaluate", "train", "answer"]
    assert (here / "where_it_looked.png").stat().st_size > 0
    assert (here / "runs" / "photos" / "README.md").is_file()
    answers = capsys.readouterr().out.splitlines()
    assert answers[-1].startswith("my_photo.jpg\twhat animal is it?\t")
