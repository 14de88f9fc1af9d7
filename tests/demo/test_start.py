"""What is said on the command line."""

import pytest


pytest.importorskip("gradio", reason="the page needs the extra `demo`")

from hf_attention.demo.start import main  # noqa: E402


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--captioner", "no/such/folder"], "the captioner 'no/such/folder' does not load: "),
        (["--captioner", "{answerer}"], "the captioner '{answerer}' does not load: "),
        (["--answerer", "{captioner}"], "the answerer '{captioner}' does not load: "),
        (["--write_space", "space"], "a Space needs a model"),
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
