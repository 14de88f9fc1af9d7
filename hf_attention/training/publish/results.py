"""The results of a run, as a file and as a line."""

import json
import sys
from pathlib import Path
from typing import Any

import accelerate
import datasets
import tokenizers
import torch
import transformers

from .local_paths import command_line, without_local_paths


RESULTS_FILE = "results.json"


def write_results(output_dir: Path, results: dict[str, Any]) -> None:
    """
    Writes results.json, with the command and the versions that gave them. Of local paths only the last parts are
    written.

    Args:
        output_dir (`Path`):
            Folder of the run.
        results (`dict`):
            What the run found.
    """
    versions = {
        module.__name__: module.__version__ for module in (torch, transformers, tokenizers, datasets, accelerate)
    }
    results = {"command": command_line(sys.argv), **without_local_paths(results), "versions": versions}
    (output_dir / RESULTS_FILE).write_text(json.dumps(results, indent=1) + "\n")


def print_scores(results: dict[str, Any]) -> None:
    """
    Prints what matters of a run's results on one line: `generation`, `validation` and `test`.

    Args:
        results (`dict`): What the run found.
    """
    print(json.dumps({name: results[name] for name in ("generation", "validation", "test") if name in results}))
