"""What is said on the command line."""

import pytest


pytest.importorskip("gradio", reason="the page needs the extra `demo`")

from hf_attention import checkpoints  # noqa: E402
from hf_attention.demo import start  # noqa: E402
from hf_attention.demo.demonstrations import DEMONSTRATIONS  # noqa: E402
from hf_attention.demo.start import main  # noqa: E402


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--captioner", "no/such/folder"], "the captioner 'no/such/folder' does not load: "),
        (["--captioner", "{answerer}"], "the captioner '{answerer}' does not load: "),
        (["--answerer", "{captioner}"], "the answerer '{captioner}' does not load: "),
        (["--examples", "no/such/folder"], "there is no folder no/such/folder"),
        (["--examples", "{captioner}"], "there is no picture in {captioner}: files named "),
        (["--write_space", "{captioner}", "--answerer", "a/b"], "{captioner} must be a new or an empty folder"),
    ],
)
def test_what_cannot_be_done_is_said(
    arguments: list[str],
    message: str,
    folders: dict[str, str],
    capsys: pytest.CaptureFixture,
):
    with pytest.raises(SystemExit) as stopped:
        main([argument.format_map(folders) for argument in arguments])
    assert stopped.value.code == 2
    assert message.format_map(folders) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], {"captioner": "scenes-captioner", "answerer": "scenes-answerer", "translator": "toy-translator"}),
        (["--translator", "toy-translator"], {"translator": "toy-translator"}),
        (["--captioner", "runs/demo/best"], {"captioner": "runs/demo/best"}),
    ],
)
def test_without_a_name_the_shipped_models_are_shown(
    arguments: list[str], expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    class Loaded:
        def load(name: str, task: str | None) -> str:
            return name

    shown = {}
    monkeypatch.setattr(start, "DEMONSTRATIONS", dict.fromkeys(DEMONSTRATIONS, Loaded))
    monkeypatch.setattr(start, "make_page", lambda pictures, **models: shown.update(models))
    monkeypatch.setattr(start, "launch", lambda page, **options: None)
    main(arguments)
    assert shown == expected


def test_the_shipped_models_are_there():
    assert set(start.SHIPPED.values()) <= set(checkpoints)
