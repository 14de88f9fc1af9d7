import json
from pathlib import Path

import pytest
from common.scripts import run_script
from PIL import Image
from transformers import pipeline

from hf_attention.scenes.layout import make_scene
from hf_attention.scenes.questions import KINDS


TINY = {"num_train_epochs": 1, "train_scenes": 8, "test_scenes": 4}


def test_captions_of_scenes(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run_script("caption_scenes", output_dir=tmp_path / "run", **TINY)
    [caption] = pipeline("image-to-text", str(tmp_path / "run" / "best"))(make_scene(0, "test", 0).draw())
    assert isinstance(caption["generated_text"], str)
    [picture] = (tmp_path / "run").glob("*.png")
    assert min(Image.open(picture).size) > 100
    assert "precision" in capsys.readouterr().out


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
