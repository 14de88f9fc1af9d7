"""The results of a run, as a file and as a line."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import accelerate
import datasets
import tokenizers
import torch
import transformers


RESULTS_FILE = "results.json"


def write_results(output_dir: Path, results: dict[str, Any]) -> None:
    """
    Writes results.json, with the command and the versions that gave them.

    Args:
        output_dir (`Path`):
            Folder of the run.
        results (`dict`):
            What the run found.
    """
    versions = {
        module.__name__: module.__version__ for module in (torch, transformers, tokenizers, datasets, accelerate)
    }
    results = {"command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]), **results, "versions": versions}
    (output_dir / RESULTS_FILE).write_text(json.dumps(results, indent=1) + "\n")


def print_scores(results: dict[str, Any]) -> None:
    """
    Prints what matters of a run's results on one line: `generation`, `validation` and `test`.

    Args:
        results (`dict`): What the run found.
    """
    print(json.dumps({name: results[name] for name in ("generation", "validation", "test") if name in results}))
