import json
import re
import shlex
import signal
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from common.scripts import run_script
from PIL import Image
from torch.optim.lr_scheduler import LambdaLR as LearningRates
from transformers import pipeline

from hf_attention.demo.start import main as show
from hf_attention.scenes.layout import make_scene
from hf_attention.scenes.questions import KINDS
from hf_attention.seeing import plot_caption_attention
from hf_attention.training.tasks.captioning import scenes as demo


TINY = {"num_train_epochs": 1, "train_scenes": 8, "test_scenes": 4}


def test_captions_of_scenes(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    run_script("caption_scenes", output_dir=tmp_path / "run", **TINY)
    [caption] = pipeline("image-to-text", str(tmp_path / "run" / "best"))(make_scene(0, "test", 0).draw())
    assert isinstance(caption["generated_text"], str)
    [picture] = (tmp_path / "run").glob("*.png")
    assert min(Image.open(picture).size) > 300
    printed = capsys.readouterr().out
    assert "precision" in printed
    # What it says to type at the end is understood.
    [shipped, trained] = re.findall(r"^    \S*hf-attention (demo.*)$", printed, re.MULTILINE)
    monkeypatch.setattr("hf_attention.demo.start.require_extra", lambda extra: pytest.fail("it was parsed"))
    for line in (shipped, trained):
        with pytest.raises(pytest.fail.Exception, match="it was parsed"):
            show(shlex.split(line)[1:])
    assert shlex.split(trained)[-1] == str(tmp_path / "run" / "best")


@pytest.mark.parametrize("script", ["caption_scenes", "answer_scenes"])
def test_a_run_that_was_stopped_goes_on(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """By the option that its last words name."""
    begin = LearningRates.step
    taken = count(1)

    def step(self) -> None:
        begin(self)
        if next(taken) == 3:  # the first is before training
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(LearningRates, "step", step)
    settings = {**TINY, "num_train_epochs": 6, "output_dir": tmp_path / "run"}
    with pytest.raises(SystemExit):
        run_script(script, **settings)
    option, value = re.search(r"`--(\w+) (\w+)`", capsys.readouterr().err).groups()
    run_script(script, **settings, **{option: value})
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert any("resumed_from" in line for line in log)


def test_the_picture_of_the_demo_is_of_a_scene_that_is_captioned_rightly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = [make_scene(0, "test", number, 320) for number in range(20)]
    crowded = [scene for scene in scenes if len(scene.objects) > 2]
    drawn, asked = [], []

    class Captioner:
        tokenizer = SimpleNamespace(eos_token="</s>")

        def __call__(self, image: Image.Image, output_attentions: bool) -> list[dict]:
            things = crowded[len(asked)].objects[: 2 + len(asked)]  # the first caption lacks objects
            asked.append(image)
            text = " and ".join(f"a {thing.colour} {thing.shape}" for thing in things)
            tokens = [*text.split(), "</s>"]
            return [
                {
                    "generated_text": text,
                    "tokens": tokens,
                    "attentions": torch.full((len(tokens), 4), 0.25),
                    "grid": (2, 2),
                    "regions": torch.tensor([[0, 0, 160, 160]] * 4),
                }
            ]

    def plot(image: Image.Image, words: list[str], weights: torch.Tensor, **options) -> Any:
        drawn.append((image, words))
        assert len(words) == len(weights) and "</s>" not in words
        return plot_caption_attention(image, words, weights, **options)

    monkeypatch.setattr(demo, "plot_caption_attention", plot)
    demo.draw_attention(Captioner(), demo.DemoArguments(test_scenes=20), tmp_path / "attention.png")
    number = len(asked) - 1
    assert number > 0
    [(image, words)] = drawn
    assert image.tobytes() == crowded[number].draw().tobytes() and image.size == (320, 320)
    assert len(words) == 4 * len(crowded[number].objects) - 1
    assert min(Image.open(tmp_path / "attention.png").size) > 300


@pytest.mark.parametrize("form", ["glimpses", "none"])
def test_answers_about_scenes(form: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run_script("answer_scenes", output_dir=tmp_path / "run", attention_form=form, **TINY)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    printed = capsys.readouterr().out
    for split in ("validation", "test", "held_out"):
        scores = results[split]
        looks = {"looked_at", "looked_at_by_chance"}
        assert {"all"} < scores.keys() - looks <= {"all", *KINDS}
        assert looks <= scores.keys() if form == "glimpses" else not looks & scores.keys()
        assert f"{split} all {scores['all']:.1%}" in printed.replace("  ", " ")
    picture = make_scene(0, "test", 0).draw()
    [answer] = pipeline("vqa", str(tmp_path / "run" / "best"))(picture, "how many objects are there ?", top_k=1)
    assert 0 <= answer["score"] <= 1


@pytest.mark.parametrize(
    ("script", "option"), [("caption_scenes", "attention_type"), ("answer_scenes", "attention_form")]
)
def test_an_unknown_attention_is_refused_at_once(
    script: str, option: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit):
        run_script(script, output_dir=tmp_path / "run", **{option: "sharp"})
    assert f"--{option.replace('_', '-')}: invalid choice: 'sharp'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
