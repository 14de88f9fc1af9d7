"""How the scripts and the command end that a signal finds before their work."""

import signal
import subprocess
import sys

import pytest
from common.scripts import SCRIPTS, child_environment, wait_for_handler


DOORS = sorted(path.stem for path in SCRIPTS.glob("*.py") if "end_in_one_line" in path.read_text())
COMMAND = "from hf_attention_command_line.main import start; start()"
WORDS = {script: [str(SCRIPTS / f"{script}.py"), "--help"] for script in DOORS}
WORDS["hf-attention"] = ["-c", COMMAND, "caption", "--model", "no/model"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("door", WORDS)
def test_a_signal_among_the_imports_ends_in_one_line(door: str, number: signal.Signals, code: int) -> None:
    process = subprocess.Popen(
        [sys.executable, *WORDS[door]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=child_environment(),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which parallel workers of pytest ignore
    )
    wait_for_handler(process)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (code, "", f"Stopped by {number.name}.\n")


def test_all_that_train_have_it() -> None:
    assert {"train_captioner", "train_lm", "train_seq2seq", "train_vqa", "caption_scenes", "answer_scenes"} <= {*DOORS}
