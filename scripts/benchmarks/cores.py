"""What a second core is worth in training: one thread, two threads, and two processes that exchange gradients."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel
from transformers import MobileNetV2Config, PreTrainedModel

from hf_attention import AttentionVQAConfig, AttentionVQAForQuestionAnswering
from hf_attention.training.loop.arguments import LoopArguments
from hf_attention.training.loop.train import create_optimizer

from .fast import TOKENS, labels_of, make_captioner, make_language_model, make_translator
from .timing import Targets, medians


ANSWERS = 800
PROCESSES = 2
Inputs = dict[str, torch.Tensor]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models", nargs="+", choices=tuple(MAKERS), default=list(MAKERS), help="what is trained")
    parser.add_argument("--float32", action="store_true", help="train in float32; default: bfloat16")
    parser.add_argument("--batch", type=int, default=80, help="sequences of a batch")
    parser.add_argument("--share", action="store_true", help="share a batch out; default: each process has one")


def make_answerer(batch: int) -> tuple[AttentionVQAForQuestionAnswering, Inputs]:
    """The recipe of scripts/train_vqa.py around a frozen backbone, whose features are stored."""
    config = AttentionVQAConfig(backbone_config=MobileNetV2Config(), freeze_backbone=True, num_labels=ANSWERS)
    inputs = {"input_ids": torch.randint(4, config.vocab_size, (batch, TOKENS // 2))}
    return AttentionVQAForQuestionAnswering(config), inputs | {"region_features": torch.randn(batch, 49, 1280)}


MAKERS = {
    "captioner": make_captioner,
    "translator": make_translator,
    "answerer": make_answerer,
    "language model": make_language_model,
}


def make(name: str, batch: int) -> tuple[PreTrainedModel, Inputs]:
    """A model in training and a batch of it, with labels."""
    model, inputs = MAKERS[name](batch)
    if name == "answerer":
        labels = torch.rand(batch, ANSWERS)
    else:
        labels = inputs["input_ids"] if name == "language model" else labels_of(batch, model.config.vocab_size)
    return model.train(), inputs | {"labels": labels}


def step(model: nn.Module, optimizer: torch.optim.Optimizer, inputs: Inputs, bfloat16: bool, threads: int) -> None:
    """Forward, backward, and the optimiser's step."""
    torch.set_num_threads(threads)
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        loss = model(**inputs).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def take_part(rank: int, folder: Path, names: list[str], batch: int, bfloat16: bool, orders: Connection) -> None:
    """One process of several: for each name that it is sent, a step of that model."""
    torch.set_num_threads(1)
    meeting = {"init_method": f"file://{folder}/meeting", "timeout": timedelta(minutes=1)}
    distributed.init_process_group("gloo", rank=rank, world_size=PROCESSES, **meeting)
    steps = {}
    for name in names:
        torch.manual_seed(0)
        model, inputs = make(name, batch)
        optimizer = create_optimizer(model, LoopArguments(output_dir=""))
        steps[name] = partial(step, DistributedDataParallel(model), optimizer, inputs, bfloat16, 1)
    while (name := orders.recv()) is not None:
        steps[name]()
        orders.send(None)
    distributed.destroy_process_group()


@contextmanager
def processes(names: list[str], batch: int, bfloat16: bool) -> Iterator[Callable[[str], None]]:
    """Processes at work; yields what makes them take a step of the model of a name, and waits until they have."""
    context = multiprocessing.get_context("spawn")
    with TemporaryDirectory() as folder:
        ends, workers = [], []
        for rank in range(PROCESSES):
            ours, theirs = context.Pipe()
            arguments = (rank, Path(folder), names, batch, bfloat16, theirs)
            workers.append(context.Process(target=take_part, args=arguments, daemon=True))
            workers[-1].start()
            theirs.close()  # so that a process that ends is not waited for
            ends.append(ours)

        def order(name: str) -> None:
            for end in ends:
                end.send(name)
            for end in ends:
                end.recv()

        yield order
        for end, worker in zip(ends, workers, strict=True):
            end.send(None)
            worker.join()


def run(args: argparse.Namespace) -> tuple[dict[str, float], Targets, str]:
    """Sequences a second."""
    bfloat16 = not args.float32
    steps: dict[str, Callable[[], None]] = {}
    sequences: dict[str, int] = {}
    share = args.batch // PROCESSES if args.share else args.batch
    with processes(args.models, share, bfloat16) as order:
        for name in args.models:
            model, inputs = make(name, args.batch)
            optimizer = create_optimizer(model, LoopArguments(output_dir=""))
            for threads, words in ((1, "one thread"), (2, "two threads")):
                steps[f"{name}: {words}"] = partial(step, model, optimizer, inputs, bfloat16, threads)
                sequences[f"{name}: {words}"] = args.batch
            steps[f"{name}: two processes"] = partial(order, name)
            sequences[f"{name}: two processes"] = PROCESSES * share
        times = medians(steps, args.repeats)
    rates = {name: 1000 * sequences[name] / milliseconds for name, milliseconds in times.items()}
    targets: Targets = {}
    for name in args.models:
        targets[f"{name}: two threads / {name}: one thread"] = (1.6, None)
        targets[f"{name}: two processes / {name}: one thread"] = (None, None)
    return rates, targets, "sequences/s"
