"""What a run says of its model, and `scripts/evaluate_model.py` of a checkpoint."""

import json
from pathlib import Path

from huggingface_hub import ModelCard
from PIL import Image

from common.scripts import run_script


def check_card_picture(folder: Path) -> None:
    """The card shows where the model looks."""
    assert "](attention.png)" in (folder / "README.md").read_text()
    with Image.open(folder / "attention.png") as picture:
        assert min(picture.size) > 100


def evaluate_model(what: str, model: Path, **options) -> dict[str, float]:
    """
    Runs the script.

    Args:
        what: One of its commands.
        model: The folder of the model; the scores are written there, too.
        options: The command's other arguments.
    """
    card_file = model / "card.md"
    run_script("evaluate_model", what, model=model, json=model / "scores.json", model_card=card_file, **options)
    scores = json.loads((model / "scores.json").read_text())
    signatures = scores.pop("signatures", {})
    told = [
        (each.metric_value, (each.metric_args or {}).get("signature"))
        for each in ModelCard.load(card_file).data.eval_results
    ]
    assert told == [
        (round(score, 4), signatures.get(name)) for name, score in scores.items() if name not in ("loss", "tokens")
    ]
    card_file.unlink()
    return scores
