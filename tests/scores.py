"""What `scripts/evaluate_model.py` says of a checkpoint."""

import json
from pathlib import Path

from common.scripts import run_script


def evaluate_model(what: str, model: Path, **options) -> dict[str, float]:
    """
    Runs the script.

    Args:
        what: One of its commands.
        model: The folder of the model; the scores are written there, too.
        options: The command's other arguments.
    """
    run_script("evaluate_model", what, model=model, json=model / "scores.json", **options)
    return json.loads((model / "scores.json").read_text())
