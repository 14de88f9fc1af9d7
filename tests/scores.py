"""What `scripts/evaluate_model.py` says of a checkpoint."""

import json
from pathlib import Path

from common.scripts import run_script
from huggingface_hub import ModelCard


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
    values = [each.metric_value for each in ModelCard.load(card_file).data.eval_results]
    assert values == [round(score, 4) for score in scores.values()]
    card_file.unlink()
    return scores
