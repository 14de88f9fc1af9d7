"""
Records what the pipelines of transformers 4.57 answer that this package brings back, for the tests to compare with.

Run it with a Python of its own, in which transformers 4.57 is installed:

    python -m venv venv457
    venv457/bin/pip install "transformers==4.57.*" torch pillow datasets pandas
    venv457/bin/python scripts/record_pipeline_answers.py

It makes the tiny models of `tests/common/` (`tiny_models.py`, `tiny_text_models.py`, `text_families.py`,
`tiny_vqa_models.py`) and rewrites `tests/recorded/image_to_text.json`, `text2text.json`, `text_families.json` and
`visual_question_answering.json`; with names of these, only them.
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any


TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path.insert(0, str(TESTS))

os.environ["HF_HUB_OFFLINE"] = "1"

import torch  # noqa: E402
import transformers  # noqa: E402
from common import (  # noqa: E402
    image_to_text_calls,
    text_calls,
    text_families,
    tiny_image_to_text_models,
    tiny_text_models,
    tiny_vqa_models,
    vqa_calls,
)
from common.folder_styles import STYLES  # noqa: E402
from common.picture_bench import Bench, Call, answer  # noqa: E402
from common.tiny_models import TinyModel  # noqa: E402
from transformers.models.auto import modeling_auto  # noqa: E402


def record_pictures(
    task: str,
    models: dict[str, TinyModel],
    asked: Callable[[str, str], dict[str, Call]],
    folder: Path,
    **arguments: Any,
) -> dict[str, dict[str, dict[str, Any]]]:
    """Returns what the pipelines answer as family → style of folder → call."""
    answers: dict[str, dict[str, dict[str, Any]]] = {}
    for name in models:
        for style in STYLES:
            bench = Bench(task, name, models, style, folder, **arguments)
            calls = asked(name, style)
            answers.setdefault(name, {})[style] = {call: answer(calls[call], bench) for call in calls}
    return answers


record_image_to_text = partial(
    record_pictures, "image-to-text", tiny_image_to_text_models.MODELS, image_to_text_calls.asked
)
record_visual_question_answering = partial(
    record_pictures, "visual-question-answering", tiny_vqa_models.MODELS, vqa_calls.asked, **vqa_calls.ARGUMENTS
)


def record_text2text(folder: Path) -> dict[str, dict[str, dict[str, list]]]:
    """Returns what the pipelines answer to the list of sources as model → task → case; token ids as lists."""
    answers: dict[str, dict[str, dict[str, list]]] = {}
    for name, tasks in tiny_text_models.TASKS.items():
        path = tiny_text_models.save_tiny_model(name, folder)
        answers[name] = {}
        for task, options in tasks.items():
            writer = transformers.pipeline(task, model=str(path), device="cpu", **options)
            answers[name][task] = {
                case: tiny_text_models.without_tensors(writer(tiny_text_models.SOURCES, **arguments))
                for case, arguments in tiny_text_models.CASES.items()
            }
    return answers


def record_text_families(folder: Path) -> dict[str, dict[str, dict[str, dict]]]:
    """Returns what the pipelines answer, as family → style of its folder → task → call."""
    answers: dict[str, dict[str, dict[str, dict]]] = {}
    for name, style, task, calls in text_calls.runs():
        path = folder / f"{name}-{style}"
        if not path.exists():
            asked = text_calls.Asked(
                text_families.save_family(name, folder, style), text_families.FAMILIES[name].codes
            )
        recorded = answers.setdefault(name, {}).setdefault(style, {}).setdefault(task, {})
        recorded |= {call: asked(task, each) for call, each in calls.items()}
    return answers


RECORDERS = {
    "image_to_text": record_image_to_text,
    "text2text": record_text2text,
    "text_families": record_text_families,
    "visual_question_answering": record_visual_question_answering,
}


FAMILIES = {
    "image_to_text": getattr(modeling_auto, "MODEL_FOR_VISION_2_SEQ_MAPPING_NAMES", ()),
    "text_families": modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    "visual_question_answering": modeling_auto.MODEL_FOR_VISUAL_QUESTION_ANSWERING_MAPPING_NAMES,
}


def main() -> None:
    if "--help" in sys.argv:
        print(__doc__.strip())
        return
    if not transformers.__version__.startswith("4.57."):
        sys.exit(f"This records the answers of transformers 4.57; here is {transformers.__version__}.")
    torch.set_num_threads(1)
    for name in sys.argv[1:] or RECORDERS:
        with tempfile.TemporaryDirectory() as folder:
            recorded = {"transformers": transformers.__version__, "answers": RECORDERS[name](Path(folder))}
        if name in FAMILIES:
            recorded["families"] = list(FAMILIES[name])
        path = TESTS / "recorded" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(recorded, ensure_ascii=False, separators=(",", ":")) + "\n")
        print(f"{path.name}: {', '.join(recorded['answers'])}")


if __name__ == "__main__":
    main()
