"""What the command `hf-attention` can do, and which module does it. Nothing here takes long to import."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import NamedTuple, NoReturn

from .ending import end_in_one_line, run


class Door(NamedTuple):
    """
    A command that a module of the package reads the options of.

    Args:
        module (`str`):
            Its `main` is called.
        help (`str`):
            What it does, in a line.
        is_told (`bool`, *optional*, defaults to `False`):
            Whether `main` takes what its help begins with.
        reads_kind (`bool`, *optional*, defaults to `False`):
            Whether `main` reads the last word of the command, too.
    """

    module: str
    help: str
    is_told: bool = False
    reads_kind: bool = False


TASKS = "hf_attention.training.tasks"
SCORING = f"{TASKS}.scoring"
DOORS: dict[str, Door | dict[str, Door]] = {
    "train": {
        "captioner": Door(f"{TASKS}.captioning.main", "Trains an image captioner on pictures with captions.", True),
        "answerer": Door(f"{TASKS}.answering.main", "Trains a model that answers questions about pictures.", True),
        "translator": Door(
            f"{TASKS}.translating.main", "Trains on pairs of sentences, for translation or for chat.", True
        ),
        "language-model": Door(
            f"{TASKS}.language_modeling.main", "Trains a recurrent language model on running text.", True
        ),
    },
    "evaluate": {
        "captions": Door(SCORING, "CIDEr and BLEU of a captioner.", reads_kind=True),
        "answers": Door(SCORING, "Right answers of a model that answers questions about pictures.", reads_kind=True),
        "translation": Door(SCORING, "BLEU and chrF of a translator.", reads_kind=True),
        "chat": Door(SCORING, "Perplexity and variety of a model that replies.", reads_kind=True),
        "perplexity": Door(SCORING, "Perplexity of a text under a causal language model.", reads_kind=True),
        "attention": Door("hf_attention.seeing.evaluation.report", "Whether attention lies where it should."),
    },
    "push": Door(
        "hf_attention.training.publish.push",
        "Pushes the folder of a finished run to the Hub, with the token of HF_TOKEN or `hf auth login`.",
        True,
    ),
    "demo": Door("hf_attention.demo.start", "Shows models on a web page. Needs the extra `demo`."),
}
GROUPS = {
    "train": "Trains a model. On several processes or devices: accelerate launch -m hf_attention train …",
    "evaluate": "Scores a model.",
}
PICTURES = "Files, folders, globs or addresses of pictures; - stands for standard input."
TEXTS = "Text files, folders of .txt files or globs; - stands for standard input."
LINES = (
    " Without any, standard input is read line by line; where that is a terminal, {} asked for. What cannot be read "
    "is told on standard error, and the rest goes on."
)


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong. Options are typed whole."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (--help says more)\n")


def make_parser() -> argparse.ArgumentParser:
    """
    Makes what reads the command line. Where a [`Door`] is named, `door` holds it, and the words behind are not known.

    Returns:
        `argparse.ArgumentParser`
    """
    parser = Parser(prog="hf-attention", description="Attention models that you can see through.")
    parser.set_defaults(door=None, kind=None)
    parser.add_argument("--version", action="version", version=f"hf_attention {version('hf_attention')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    caption = _asking(commands, "caption", "Describes pictures.", PICTURES, "pictures are")
    answer = _asking(commands, "answer", "Answers questions about pictures.", PICTURES, "questions are")
    answer.epilog = (
        "Pictures without a question: the questions come from standard input. Neither: each line of standard input "
        "is a picture, a tab and a question."
    )
    answer.add_argument("--question", action="append", help="What is asked of each picture; may be given again.")
    answer.add_argument("--top_k", type=_count, help="How many of the known answers to tell. By default the best.")
    translate = _asking(commands, "translate", "Translates texts, line by line.", TEXTS, "sentences are")
    translate.add_argument(
        "--task",
        default="translation",
        help="translation_en_to_de and the like for a model of many languages; summarization; text2text-generation, "
        "for chat. By default translation.",
    )
    for each in (answer, translate):
        each.add_argument("--truncation", action="store_true", help="Cut texts that are longer than the model reads.")
    for each in (caption, answer, translate):
        each.add_argument("--maps", action="store_true", help="JSON lines that also tell where the model looked.")
    write = _asking(commands, "write", "Goes on with texts, line by line.", TEXTS, "beginnings are")
    write.add_argument("--do_sample", action="store_true", help="Draw each word by its probability.")
    write.add_argument("--temperature", type=float, help="Below 1, likely words are drawn more often still.")
    write.add_argument("--seed", type=int, help="The same number, the same draws.")

    for name, door in DOORS.items():
        if isinstance(door, Door):
            commands.add_parser(name, help=door.help, add_help=False).set_defaults(door=door)
            continue
        group = commands.add_parser(name, help=GROUPS[name], description=GROUPS[name])
        kinds = group.add_subparsers(dest="kind", required=True, metavar="KIND")
        for kind, each in door.items():
            kinds.add_parser(kind, help=each.help, add_help=False).set_defaults(door=each)
    commands.add_parser("env", help="Tells versions, for a bug report.")
    return parser


def _asking(
    commands: argparse._SubParsersAction, name: str, description: str, inputs: str, asked_for: str
) -> argparse.ArgumentParser:
    """A command that asks a model."""
    parser = commands.add_parser(name, help=description, description=description + LINES.format(asked_for))
    parser.add_argument("inputs", nargs="*", metavar="INPUT", help=inputs)
    parser.add_argument(
        "--model", required=True, help="A folder, a shipped model such as scenes-captioner, or a name on the Hub."
    )
    parser.add_argument("--num_beams", type=_count, help="Of beam search. By default the checkpoint's own.")
    parser.add_argument("--max_new_tokens", type=_count, help="The longest answer. By default the checkpoint's own.")
    parser.add_argument("--batch_size", type=_count, default=1, help="How many go through the model at once.")
    parser.add_argument("--device", help="cpu, cuda, mps, … By default an accelerator where there is one.")
    parser.add_argument("--json", action="store_true", help="Write JSON lines.")
    return parser


def _count(word: str) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, at least 1, got {word!r}")
    return int(word)


def main(argv: Sequence[str] | None = None) -> int:
    """
    Does what the command line says.

    Args:
        argv (`Sequence[str]`, *optional*):
            Its words, by default those of this process.

    Returns:
        `int`: The exit code: 0; 1 where some of several inputs failed; 2 where the only one did, or there was nothing
        to be done.
    """
    parser = make_parser()
    arguments, rest = parser.parse_known_args(argv)
    if arguments.door is not None:
        words = [arguments.command, arguments.kind] if arguments.kind else [arguments.command]
        return _open(arguments.door, words, rest)
    if rest:
        parser.error(f"{arguments.command} does not know {' '.join(rest)}")
    if arguments.command == "env":
        from .environment import environment

        print(environment())
        return 0
    from .asking import ask

    return ask(arguments)


def _open(door: Door, words: list[str], rest: list[str]) -> int:
    """Has the module read the rest, under the name of the command."""
    if door.reads_kind:
        rest = [words.pop(), *rest]
    name = " ".join(["hf-attention", *words])
    sys.argv = [name, *rest]  # a run writes it down as what made it
    return run(importlib.import_module(door.module).main, *[door.help] if door.is_told else [])


def start() -> NoReturn:
    """Runs the command in a process of its own."""
    end_in_one_line()
    sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # as inputs are read
    try:
        sys.exit(main())
    except BrokenPipeError:  # whoever read the answers has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
