"""Trains and packages the models that are shipped: `scripts/make_checkpoints.py`, `make checkpoints`."""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

from ...arguments import OptionParser
from ...shipped import FOLDER
from .packaging import package
from .recipes import RECIPES, Recipe


CHECKOUT = FOLDER.parents[1]


def main(description: str | None = None) -> None:
    """
    Does what the command line says.

    Args:
        description (`str`, *optional*):
            What `--help` begins with.
    """
    parser = OptionParser((), description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=RECIPES, default=list(RECIPES), help="By default all of them.")
    without_training = parser.add_mutually_exclusive_group()
    without_training.add_argument(
        "--from_run", type=Path, metavar="FOLDER", help="Train nothing: the model that a run left there is packaged."
    )
    without_training.add_argument(
        "--measure", action="store_true", help="Train and package nothing: score what is there."
    )
    parser.add_argument("--output_dir", type=Path, default=FOLDER, help="By default the package's own folder.")
    arguments = parser.parse_args()
    if arguments.from_run is not None and len(arguments.only) > 1:
        parser.error("--from_run needs --only and the one name of what the run has trained.")
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    for name in arguments.only:
        recipe, folder = RECIPES[name], arguments.output_dir / name
        if arguments.measure:
            scores = recipe.measure(str(folder))
        else:
            scores = package(name, recipe, arguments.from_run or train(recipe), folder)
        print(name, " ".join(f"{key} {value:.4f}" for key, value in scores.items()), flush=True)


def train(recipe: Recipe) -> Path:
    """
    Runs the commands of a recipe.

    Args:
        recipe ([`~hf_attention.training.shipping.recipes.Recipe`]): How the model is trained.

    Returns:
        `Path`: The folder of the trained model.
    """
    for command in recipe.commands:
        print(command, flush=True)
        words = shlex.split(command.replace("\\\n", " "))
        subprocess.run([sys.executable, *words[1:]], cwd=CHECKOUT, check=True)
    return CHECKOUT / recipe.run
