import json
from pathlib import Path

import pytest
from common import tiny_captioner
from common.evaluated import make_arguments

from hf_attention import AttentionCaptionerForConditionalGeneration
from hf_attention.scenes import make_scenes
from hf_attention.scenes.scene import COLOURS, SHAPES
from hf_attention.seeing.evaluation.captioners import Captions
from hf_attention.seeing.evaluation.report import main, measure


@pytest.fixture(scope="module")
def words() -> list[str]:
    return ["a", *COLOURS, *(noun for nouns in SHAPES.values() for noun in nouns)]


def save_captioner(folder: Path, words: list[str], **settings) -> str:
    """One that says what it always says: a colour and a shape, over and over."""
    model = tiny_captioner.make_model(AttentionCaptionerForConditionalGeneration, words=words, **settings)
    model.lm_head.weight.data.zero_()
    model.generation_config.max_length = 5
    model.save_pretrained(folder)
    tiny_captioner.make_processor(words).save_pretrained(folder)
    return str(folder)


def test_a_captioner_from_its_folder(tmp_path, words, monkeypatch, capsys):
    folder = save_captioner(tmp_path / "captioner", words)
    # It cannot caption; what it would say of each scene is put in its mouth.
    texts = iter(["a red circle", "a blue star a white ring"] * 2)
    monkeypatch.setattr(
        AttentionCaptionerForConditionalGeneration, "generate", lambda self, pixel_values: pixel_values
    )
    monkeypatch.setattr(
        tiny_captioner.AttentionCaptionerProcessor, "batch_decode", lambda self, ids, **_: [next(texts) for _ in ids]
    )
    few = ["--samples", "4", "--image_size", "32", "--eval_batch_size", "3"]
    main(["--model", folder, *few, "--split", "test", "--json", str(tmp_path / "out.json")])
    [measures] = json.loads((tmp_path / "out.json").read_text()).values()
    assert measures["kind"] == "captions" and measures["pairs_named"] == 6
    things = [
        {(thing["colour"], thing["shape"]) for thing in objects}
        for objects in make_arguments(split="test").make_split(make_scenes, captions_per_scene=1)["objects"]
    ]
    said = [[("red", "circle")], [("blue", "star"), ("white", "ring")]] * 2
    right = sum(pair in present for pairs, present in zip(said, things, strict=True) for pair in pairs)
    assert measures["nouns"]["looks"] == measures["colours"]["looks"] == right
    assert measures["pairs_right"] == right / 6
    assert "(captions)" in capsys.readouterr().out


def test_what_cannot_be_measured_is_refused(tmp_path, words, monkeypatch):
    folder = save_captioner(tmp_path / "blind", words, attention_type=None)
    with pytest.raises(ValueError, match="does not attend: .* `attention_type=None`"):
        measure(folder, make_arguments())
    tiny_captioner.make_backbone_config("vit").save_pretrained(tmp_path / "vit")
    with pytest.raises(ValueError, match="'vit', which is none of attention_captioner"):
        measure(str(tmp_path / "vit"), make_arguments())
    whole = save_captioner(tmp_path / "captioner", words)
    monkeypatch.setattr(Captions, "measure", lambda self: pytest.fail("the work began"))
    with pytest.raises(ValueError, match="does not attend"):
        main(["--model", whole, folder])
    for name, value in (("samples", 0), ("split", "all")):
        with pytest.raises(ValueError, match=f"`{name}` must be .* got '?{value}"):
            make_arguments(**{name: value})


def test_what_nobody_looked_at_is_null(tmp_path, words, monkeypatch, capsys):
    """JSON knows no NaN: other programs read the file too."""
    folder = save_captioner(tmp_path / "captioner", words)
    monkeypatch.setattr(
        tiny_captioner.AttentionCaptionerProcessor, "batch_decode", lambda self, ids, **_: ["nothing"] * len(ids)
    )
    path = tmp_path / "out.json"
    main(["--model", folder, "--samples", "2", "--image_size", "32", "--json", str(path)])
    printed = capsys.readouterr().out
    for text in (path.read_text(), printed.splitlines()[-1]):
        [measures] = json.loads(text, parse_constant=pytest.fail).values()
        assert measures["pairs_named"] == 0 and measures["deletion"] == {}
        assert (
            measures["nouns"]
            == measures["colours"]
            == {
                "looks": 0,
                "pointing": None,
                "pointing_by_chance": None,
                "attention_inside": None,
                "attention_inside_uniform": None,
            }
        )
    assert "nouns      0 looks" in printed and "nan" not in printed.lower()


def test_a_shipped_model_goes_by_its_name(capsys: pytest.CaptureFixture) -> None:
    main(["--model", "toy-translator", "--samples", "5", "--variety", "12"])
    measures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert measures["toy-translator"]["alignment_error_rate"] < 0.1
