"""Asking a model: pictures and lines in, answers out, through the pipelines of the package."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

import torch
from tqdm import tqdm
from transformers import AutoConfig, Pipeline, pipeline, set_seed
from transformers.utils import logging

from hf_attention import checkpoints  # the package also brings the tasks back
from hf_attention.shipped import find_checkpoint

from .ending import one_line
from .inputs import STANDARD_INPUT, Input, find_pictures, is_terminal, standard_input, text_lines


# What a single input may be to blame for.
ERRORS = (OSError, RuntimeError, TypeError, ValueError)
MOST_NAMED = 20


class Refusal(Exception):
    """Why there is nothing to be done."""


class Item(NamedTuple):
    """
    What the model is asked.

    Args:
        name (`str`):
            What messages call it.
        asked (`Any`):
            What the pipeline takes.
        told (`dict[str, str]`):
            What a line of JSON says before the answer.
        problem (`str`, *optional*):
            Why the model is not asked.
    """

    name: str
    asked: Any
    told: dict[str, str]
    problem: str = ""


class Model:
    """
    The model that a command line names, loaded as it is first asked.

    Args:
        arguments (`argparse.Namespace`): The command line.
    """

    def __init__(self, arguments: argparse.Namespace):
        self.arguments = arguments
        names = ("num_beams", "max_new_tokens", "top_k", "temperature")
        values = {name: getattr(arguments, name, None) for name in names}
        self.options = {name: value for name, value in values.items() if value is not None}
        if getattr(arguments, "maps", False):
            self.options["output_attentions"] = True
        if getattr(arguments, "truncation", False):
            self.options["truncation"] = True
        if arguments.command == "write":
            self.options["do_sample"] = arguments.do_sample

    @cached_property
    def pipe(self) -> Pipeline:
        arguments = self.arguments
        task = COMMANDS[arguments.command].task or arguments.task
        logging.disable_progress_bar()
        kwargs = {} if arguments.device is None else {"device": arguments.device}
        if "output_attentions" in self.options:
            # Other implementations of attention keep the weights of transformers' models to themselves.
            kwargs["model_kwargs"] = {"attn_implementation": "eager"}
        try:
            name = find_checkpoint(arguments.model)
        except ValueError as error:
            raise Refusal(str(error)) from error
        try:
            pipe = pipeline(task, model=name, **kwargs)
        except Exception as error:  # each loader has errors of its own
            command = _command_of(name)
            if command not in (None, arguments.command):
                raise Refusal(
                    f"the model {arguments.model!r} {KINDS[command]}: `hf-attention {command}` takes it"
                ) from error
            # A name without a user or a folder is most likely meant to be one of these.
            known = "" if "/" in arguments.model or os.path.isdir(name) else ", ".join(checkpoints)
            hint = f" (shipped are {known})" if known else ""
            nowhere = "" if os.path.isdir(name) else " is no folder here and"
            raise Refusal(f"the model {arguments.model!r}{nowhere} does not load{hint}: {one_line(error)}") from error
        if arguments.command == "answer":
            generates = pipe.model.can_generate()
            refused = {"top_k"} if generates else {"num_beams", "max_new_tokens"}
            if given := sorted(refused & self.options.keys()):
                how = "writes its answers" if generates else "chooses among known answers"
                raise Refusal(f"the model {arguments.model!r} {how}: leave out --{given[0]}")
            if not generates:
                self.options.setdefault("top_k", 1)
        return pipe

    def __call__(self, items: list[Item]) -> list[list[dict[str, Any]] | str]:
        """
        Asks it. Where a batch fails, each of its items is asked alone.

        Args:
            items (`list[Item]`): A batch.

        Returns:
            `list`: For each item the records of the pipeline, or why there are none.
        """
        if not items:
            return []
        pipe = self.pipe
        try:
            answers = pipe([item.asked for item in items], batch_size=len(items), **self.options)
        except ERRORS as error:
            if len(items) == 1:
                return [one_line(error)]
            return [answer for item in items for answer in self([item])]
        return [[answer] if isinstance(answer, dict) else answer for answer in answers]


def caption_items(arguments: argparse.Namespace) -> Iterator[Item]:
    """
    Pictures.

    Args:
        arguments (`argparse.Namespace`): The command line.
    """
    for each in find_pictures(arguments.inputs or [STANDARD_INPUT]):
        yield Item(each.name, each.text, {"image": each.text or each.name}, each.problem)


def answer_items(arguments: argparse.Namespace) -> Iterator[Item]:
    """
    Questions, each about each picture.

    Args:
        arguments (`argparse.Namespace`): The command line.

    Raises:
        Refusal: Where somebody would have to type pictures and questions, or standard input would have to give both.
    """
    if not arguments.inputs and not arguments.question:
        if is_terminal():
            raise Refusal("name a picture, or several")
        for line in standard_input("question"):
            image, tab, question = line.text.partition("\t")
            problem = line.problem or ("" if tab and question.strip() else "it is no picture, a tab and a question")
            yield _question(Input(line.name, image, problem), question)
        return
    if arguments.question:
        for image in find_pictures(arguments.inputs or [STANDARD_INPUT]):
            for question in arguments.question[: 1 if image.problem else None]:
                yield _question(image, question)
        return
    if STANDARD_INPUT in arguments.inputs:
        raise Refusal("standard input cannot name the pictures and ask the questions: give --question")
    images = list(find_pictures(arguments.inputs))
    for image in images:
        if image.problem:
            yield _question(image, "")
    if all(image.problem for image in images):
        return
    for line in standard_input("question"):
        if line.problem:
            yield _question(line, "")
        elif line.text.strip():
            for image in images:
                if not image.problem:
                    yield _question(image, line.text)


def _question(image: Input, question: str) -> Item:
    told = {"image": image.text or image.name, "question": question}
    problem = image.problem or ("" if question.strip() else "the question is empty")
    return Item(image.name, {"image": image.text, "question": question}, told, problem)


def text_items(arguments: argparse.Namespace) -> Iterator[Item]:
    """
    Lines.

    Args:
        arguments (`argparse.Namespace`): The command line.
    """
    for line in text_lines(arguments.inputs or [STANDARD_INPUT]):
        yield Item(line.name, line.text, {"text": line.text}, line.problem)


class Command(NamedTuple):
    """
    How a command asks.

    Args:
        items (`Callable`):
            What it asks, as the command line says.
        task (`str`, *optional*):
            Of the pipeline. Without it, it is the option `--task`.
    """

    items: Callable[[argparse.Namespace], Iterator[Item]]
    task: str | None = None


COMMANDS = {
    "caption": Command(caption_items, "image-to-text"),
    "answer": Command(answer_items, "visual-question-answering"),
    "translate": Command(text_items),
    "write": Command(text_items, "text-generation"),
}


# What a model of each command does, and of which type those of the package are.
KINDS = {
    "caption": "describes pictures",
    "answer": "answers questions about pictures",
    "translate": "is a translator",
    "write": "goes on with texts",
}
MODEL_TYPES = {
    "attention_captioner": "caption",
    "attention_vqa": "answer",
    "attention_seq2seq": "translate",
    "recurrent_lm": "write",
}


def _command_of(folder: str) -> str | None:
    """The command that takes a model of this package."""
    if not os.path.isdir(folder):
        return None
    try:
        config = AutoConfig.from_pretrained(folder)
    except Exception:  # as the model, which is told
        return None
    if config.model_type == "attention_ensemble":
        config = config.member_configs()[0]
    return MODEL_TYPES.get(config.model_type)


def ask(arguments: argparse.Namespace) -> int:
    """
    Asks a model, and prints the answers in the order of what was asked.

    Args:
        arguments (`argparse.Namespace`): The command line.

    Returns:
        `int`: The exit code, as [`~hf_attention_command_line.main.main`] tells.
    """
    try:
        return _ask(arguments)
    except Refusal as refusal:
        _complain(arguments, str(refusal))
        return 2


def _ask(arguments: argparse.Namespace) -> int:
    if arguments.command == "write":
        if arguments.temperature is not None and not arguments.do_sample:
            raise Refusal("--temperature is for drawn words: give --do_sample")
        if arguments.seed is not None:
            set_seed(arguments.seed)
    asks_for_lines = not arguments.inputs or STANDARD_INPUT in arguments.inputs
    asks_for_lines |= arguments.command == "answer" and not arguments.question
    is_typed = asks_for_lines and is_terminal()
    has_pictures = arguments.command in ("caption", "answer")
    model = Model(arguments)
    items: Iterable[Item] = COMMANDS[arguments.command].items(arguments)
    total = None
    if is_typed:
        model.pipe  # noqa: B018  (before the first prompt)
    elif has_pictures and not asks_for_lines:
        items = list(items)
        total = len(items)

    asked, failed = 0, []
    with tqdm(total=total, disable=is_typed or total == 1 or not sys.stderr.isatty()) as bar:
        for batch in _batches(items, 1 if is_typed else arguments.batch_size):
            answers = iter(model([item for item in batch if _is_asked(item)]))
            for item in batch:
                answer = next(answers) if _is_asked(item) else item.problem or []
                if isinstance(answer, str):
                    failed.append(item.name)
                    bar.write(f"hf-attention {arguments.command}: {item.name}: {answer}", file=sys.stderr)
                columns = item.told.values() if has_pictures and not (is_typed and len(arguments.inputs) < 2) else []
                for line in _shown(item, answer, list(columns), arguments):
                    bar.write(line, file=sys.stdout)
            sys.stdout.flush()
            asked += len(batch)
            bar.update(len(batch))
    if not failed:
        return 0
    if asked == 1:
        return 2
    names = list(dict.fromkeys(failed))
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    _complain(arguments, f"{len(failed)} of {asked} failed: {', '.join(names[:MOST_NAMED])}{more}")
    return 1


def _is_asked(item: Item) -> bool:
    """An empty line has an empty answer."""
    return not item.problem and not (isinstance(item.asked, str) and not item.asked.strip())


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _shown(
    item: Item, answer: list[dict[str, Any]] | str, columns: list[str], arguments: argparse.Namespace
) -> Iterator[str]:
    """The lines of an answer. A line that was read has one, also where it is empty or failed."""
    if arguments.json or getattr(arguments, "maps", False):
        records = [{"error": answer}] if isinstance(answer, str) else answer or [{}]
        for record in records:
            yield json.dumps({**item.told, **record}, ensure_ascii=False, default=torch.Tensor.tolist)
    elif answer and not isinstance(answer, str):
        for record in answer:
            text = next(value for name, value in record.items() if name == "answer" or name.endswith("_text"))
            scores = [f"{record['score']:.4f}"] if len(answer) > 1 and "score" in record else []
            yield "\t".join([*columns, " ".join(text.splitlines()), *scores])
    elif arguments.command in ("translate", "write"):
        yield ""


def _complain(arguments: argparse.Namespace, message: str) -> None:
    print(f"hf-attention {arguments.command}: {message}", file=sys.stderr)
