"""Pushing a finished run: `scripts/push_to_hub.py`."""

import argparse
from pathlib import Path

from ...arguments import OptionParser
from .hub import HubError, prepare_repository, push_folder


def main(description: str | None = None) -> None:
    """
    Pushes the folder that the command line names.

    Args:
        description (`str`, *optional*):
            What `--help` begins with.
    """
    parser = OptionParser((), description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="Folder of a model, as a training script leaves it.")
    parser.add_argument("name", help="Name on the Hub, with or without the user.")
    parser.add_argument("--private", action="store_true", help="Make a new repository private.")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--revision", help="Push to this branch, which is made where there is none.")
    where.add_argument(
        "--create_pr", action="store_true", help="Open a pull request, also where you have no right to write."
    )
    parser.add_argument("--message", default="Upload model", help="The commit's message.")
    arguments = parser.parse_args()
    if not (arguments.folder / "config.json").is_file():
        parser.error(f"{arguments.folder} holds no model: there is no config.json.")
    if arguments.create_pr and "/" not in arguments.name:
        parser.error(f"--create_pr needs the whole name, user/{arguments.name}.")
    try:
        name = arguments.name
        if not arguments.create_pr:
            name = prepare_repository(name, arguments.private)
        print(push_folder(arguments.folder, name, arguments.message, arguments.revision, arguments.create_pr))
    except HubError as error:
        parser.exit(1, f"{Path(parser.prog).name}: {error}\n")
