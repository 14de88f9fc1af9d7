"""What transformers 4.57 answered, as `scripts/record_pipeline_answers.py` wrote it down."""

import json
from pathlib import Path
from typing import Any

import pytest


def _read(name: str) -> dict[str, Any]:
    return json.loads((Path(__file__).parents[1] / "recorded" / f"{name}.json").read_text())


def recorded(name: str) -> dict[str, Any]:
    """Its answers to a task's calls: family → style of folder → call."""
    return _read(name)["answers"]


def families(name: str) -> list[str]:
    """All the types of model that it knew for a task."""
    return _read(name)["families"]


def is_same(answer: Any, expected: Any) -> bool:
    """Whether two answers are the same, up to the noise of floating point; of two refusals, whatever their names."""
    if isinstance(expected, dict) and isinstance(answer, dict):
        if "raises" in expected:
            return "raises" in answer
        return "yields" in answer and is_same(answer["yields"], expected["yields"])
    if isinstance(expected, list) and isinstance(answer, list):
        return len(answer) == len(expected) and all(map(is_same, answer, expected))
    return answer == (pytest.approx(expected, abs=2e-5) if isinstance(expected, float) else expected)
