"""What `scripts/evaluate_model.py` says of a checkpoint."""

import importlib.util
import json
import sys
from pathlib import Path

from accelerate.state import AcceleratorState


SCRIPT = Path(__file__).parents[1] / "scripts" / "evaluate_model.py"


def evaluate_model(what: str, model: Path, **options) -> dict[str, float]:
    """
    Runs the script.

    Args:
        what: One of its commands.
        model: The folder of the model; the scores are written there, too.
        options: The command's other arguments.
    """
    spec = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[SCRIPT.stem] = module  # a dataclass looks its module up
    spec.loader.exec_module(module)
    AcceleratorState._reset_state(reset_partial_state=True)
    options = {"model": model, "json": model / "scores.json", **options}
    module.main([what, *(str(word) for name, value in options.items() for word in (f"--{name}", value))])
    return json.loads((model / "scores.json").read_text())
