"""A tiny run of each task's script, in processes that may be killed, and what such a run must end with."""

import filecmp
import json
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import torch
from common.scripts import SCRIPTS, child_environment, command_line, run_script
from datasets import Dataset, DatasetDict
from safetensors.torch import load_file
from transformers import ResNetConfig

from hf_attention.scenes import make_scene_questions, make_scenes
from hf_attention.scenes.toy_language import TOY_LANGUAGE, make_translations


SIZES = dict.fromkeys(["embedding_size", "hidden_size"], 12)
ATTENTION = {"attention_size": 12, "min_count": 1, "label_smoothing": 0}
LOOP = {"warmup_steps": 3, "logging_steps": 1, "learning_rate": 1e-2, "ema_decay": 0.5, "average_checkpoints": 2}
# Dropout, so that random numbers matter; and an end within an epoch.
OPTIONS = {
    "train_lm": {**SIZES, "num_hidden_layers": 1, "hidden_dropout": 0.2, "columns": 12, "segment_length": 10}
    | {"eval_columns": 2, "max_steps": 33, "checkpointing_steps": 5},
    "train_seq2seq": {**SIZES, **ATTENTION, "encoder_hidden_size": 12, "vocab_size": 300, "batch_size": 16}
    | {"validation_num_beams": 1, "max_target_length": 20, "max_steps": 26, "checkpointing_steps": 4},
    "train_captioner": {**SIZES, **ATTENTION, "memory_size": 12, "image_size": 32, "images_per_batch": 4}
    | {"max_steps": 23, "checkpointing_steps": 4},
    "train_vqa": {**SIZES, "attention_size": 12, "memory_size": 12, "encoder_hidden_size": 12, "image_size": 32}
    | {"batch_size": 32, "questions_per_image": 4, "max_steps": 13, "checkpointing_steps": 2},
}
TASKS = tuple(OPTIONS)
_BACKBONE = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}


def make_data(task: str, folder: Path) -> dict[str, Any]:
    """Writes the data of a task, and returns the options that name them."""
    if task == "train_lm":
        splits = make_translations(train=160, validation=8, test=8)
        texts = {name: {"text": [row["en"] for row in rows["translation"]]} for name, rows in splits.items()}
        DatasetDict({name: Dataset.from_dict(columns) for name, columns in texts.items()}).save_to_disk(folder)
        return {"dataset_name": folder}
    if task == "train_seq2seq":
        make_translations(train=160, validation=8, test=8).save_to_disk(folder)
        return {"dataset_name": folder, "source_lang": "en", "target_lang": TOY_LANGUAGE}
    sizes = {"train": 40, "validation": 8, "test": 8, "held_out": 0, "image_size": 32}
    make = make_scenes if task == "train_captioner" else make_scene_questions
    make(**sizes).save_to_disk(folder / "data")
    ResNetConfig(**_BACKBONE).save_pretrained(folder / "config")
    return {"dataset_name": folder / "data", "backbone_config": folder / "config"}


@dataclass
class Ended:
    """
    How a process ended.

    Args:
        code (`int`):
            As of a shell's children: negative where it was killed by a signal.
        stderr (`str`):
            What it said.
        hung (`bool`):
            Whether it was killed because it took too long.
        hit (`bool`):
            Whether the signal found it alive.
    """

    code: int
    stderr: str
    hung: bool = False
    hit: bool = False


class TinyTask:
    """
    A task's script on data of its own.

    Args:
        task (`str`):
            One of `TASKS`.
        folder (`Path`):
            Where all is written.
    """

    def __init__(self, task: str, folder: Path):
        self.task = task
        self.folder = folder
        self.options = {**LOOP, **OPTIONS[task], **make_data(task, folder / "data")}
        self.whole = folder / "whole"
        self.run(folder / "first")  # which also starts the server of processes
        started = time.monotonic()
        ended = self.run(self.whole)
        self.seconds = time.monotonic() - started
        if ended.code:
            raise RuntimeError(f"The undisturbed run of {task} failed: {ended.stderr}")

    def command(self, output_dir: Path, **more: object) -> list[str]:
        """The command line of a run."""
        return [*self.script, *self.words(output_dir, **more)]

    @property
    def script(self) -> list[str]:
        return [sys.executable, str(SCRIPTS / f"{self.task}.py")]

    def words(self, output_dir: Path, **more: object) -> list[str]:
        return command_line(**self.options, **going_on(output_dir), **more, output_dir=output_dir)

    def run(
        self,
        output_dir: Path,
        number: signal.Signals | None = None,
        moment: float = 0,
        seconds: float = 90,
        before: Callable[[], None] | None = None,
        **more: object,
    ) -> Ended:
        """
        Runs the script, which goes on where there is a checkpoint, in a process that has imported all.

        Args:
            output_dir (`Path`):
                Of the run.
            number (`signal.Signals`, *optional*):
                A signal for it.
            moment (`float`, *optional*, defaults to 0):
                When it gets that, in seconds.
            seconds (`float`, *optional*, defaults to 90):
                What it may take.
            before (`Callable`, *optional*):
                Called first of all, in that process.
            more:
                More options.
        """
        options = {**self.options, **going_on(output_dir), **more, "output_dir": output_dir}
        reader, writer = _server().Pipe(duplex=False)
        process = _server().Process(target=_run, args=(self.task, options, writer, before))
        process.start()
        writer.close()
        said = [os.read(reader.fileno(), 1)]  # when it has begun
        listener = threading.Thread(target=_listen, args=(reader, said), daemon=True)
        listener.start()
        process.join(moment if number is not None else seconds)
        hit = hung = process.is_alive()
        if number is not None and hit:
            os.kill(process.pid, number)
            process.join(seconds)
            hung = process.is_alive()
        if hung:
            process.kill()
            process.join()
        listener.join(20)  # what reads data for a process that was killed ends soon after it
        hung = hung or listener.is_alive()
        stderr = b"".join(said).decode(errors="replace")
        return Ended(process.exitcode, stderr, hung, hit and number is not None)

    def difference(self, output_dir: Path) -> str:
        """What a run that has ended has otherwise than the undisturbed one; empty where nothing."""
        for name in ("model.safetensors", "best/model.safetensors"):
            one, two = load_file(self.whole / name), load_file(output_dir / name)
            if one.keys() != two.keys() or not all(torch.equal(one[key], two[key]) for key in one):
                return name
        if not filecmp.cmp(self.whole / "tokenizer.json", output_dir / "tokenizer.json", shallow=False):
            return "tokenizer.json"
        scores = [
            json.loads((folder / "results.json").read_text())["validation"] for folder in (self.whole, output_dir)
        ]
        return "" if scores[0] == scores[1] else "results.json"

    def copy_of_whole(self, output_dir: Path) -> Path:
        """A copy of the undisturbed run's folder, whose files are its own."""
        shutil.rmtree(output_dir, ignore_errors=True)
        shutil.copytree(self.whole, output_dir)
        return output_dir


def going_on(output_dir: Path) -> dict[str, object]:
    """The options of whoever has lost a run, and starts it again."""
    if any(output_dir.glob("checkpoint-*")):
        return {"resume_from_checkpoint": "latest"}
    return {"overwrite_output_dir": True}


def _server() -> ForkServerContext:
    """Its processes have imported what takes long."""
    os.environ.update(child_environment())
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hostile.preloaded"])
    return context


def _listen(reader: Connection, said: list[bytes]) -> None:
    while part := os.read(reader.fileno(), 2**16):
        said.append(part)


def _run(task: str, options: dict, writer: Connection, before: Callable[[], None] | None) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which parallel workers of pytest ignore
    multiprocessing.set_start_method("fork", force=True)  # as in a process of its own
    from hf_attention_command_line.ending import end_in_one_line

    end_in_one_line()
    os.dup2(writer.fileno(), 1)
    os.dup2(writer.fileno(), 2)
    os.write(2, b"\n")
    if before is not None:
        before()
    run_script(task, **options)
