"""
Shows models on a web page: they caption, answer and translate, and show where they looked.

Each is a folder, a model that the package ships (scenes-captioner, scenes-answerer, toy-translator), or a name on the
Hub. Where none is named, the shipped ones are shown; where some are, the other tabs say how to get one. The page
listens on loopback unless `--host` says otherwise. `--write_space` starts no page: it writes a folder to push as a
Space, with the models that are folders here. It needs the extra `demo`: pip install "hf_attention[demo]".
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..arguments import OptionParser
from ..extras import require_extra
from .demonstrations import DEMONSTRATIONS, SHIPPED
from .examples import MOST_PICTURES, read_examples
from .space import write_space
from .web_page import launch, make_page


def main(argv: Sequence[str] | None = None) -> None:
    """
    Starts the page, or writes it as a Space.

    Args:
        argv (`Sequence[str]`, *optional*): The words of a command line, by default those of this process.
    """
    parser = OptionParser((), description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captioner", help="Describes pictures: a folder, a shipped model or a name on the Hub.")
    parser.add_argument("--answerer", help="Answers questions about pictures.")
    parser.add_argument("--translator", help="Translates.")
    parser.add_argument(
        "--translation_task",
        default="translation",
        help="translation_en_to_de and the like, for a translator of many languages.",
    )
    parser.add_argument(
        "--examples",
        type=Path,
        metavar="FOLDER",
        help=f"Its first {MOST_PICTURES} pictures, by name, are what visitors may pick, in place of scenes.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="Address to listen on; 0.0.0.0 is every one.")
    parser.add_argument("--port", type=int, help="By default the first free one from 7860 on.")
    parser.add_argument("--write_space", type=Path, metavar="FOLDER", help="Write a Space there instead.")
    arguments = parser.parse_args(argv)
    require_extra("demo")
    names = {part: name for part in DEMONSTRATIONS if (name := getattr(arguments, part)) is not None} or SHIPPED
    if arguments.write_space is not None:
        try:
            write_space(arguments.write_space, names, arguments.translation_task, arguments.examples)
        except ValueError as error:
            parser.error(str(error))
        print(f"Push {arguments.write_space} with: hf upload NAME {arguments.write_space} . --repo-type space")
        return
    try:
        pictures = [] if arguments.examples is None else read_examples(arguments.examples)
    except ValueError as error:
        parser.error(str(error))
    models = {}
    for part, name in names.items():
        task = arguments.translation_task if part == "translator" else None
        try:
            models[part] = DEMONSTRATIONS[part].load(name, task)
        except (OSError, ValueError) as error:
            parser.error(f"the {part} {name!r} does not load: {error}")
    try:
        launch(make_page(**models, pictures=pictures), server_name=arguments.host, server_port=arguments.port)
    except OSError as error:
        parser.error(str(error))
