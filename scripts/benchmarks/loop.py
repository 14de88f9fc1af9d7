"""A training step in the loop on Accelerate, and in a bare PyTorch loop over the same batches."""

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import get_scheduler

from hf_attention.training.data.collators import CaptionCollator
from hf_attention.training.loop.arguments import LoopArguments
from hf_attention.training.loop.objective import Objective
from hf_attention.training.loop.train import create_optimizer, make_accelerator, train

from .random_captioner import add_size_arguments, make_captioner
from .timing import Targets


LOOP, BARE = "the loop", "a bare loop"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_size_arguments(parser)
    parser.add_argument("--batch", type=int, default=64, help="sequences")
    parser.add_argument("--target", type=int, default=24, help="target positions")
    parser.add_argument("--positions", type=int, default=24, help="memory positions")
    parser.add_argument("--mixed_precision", choices=("no", "bf16"), default="no")
    parser.add_argument("--ema_decay", type=float, default=LoopArguments.ema_decay, help="0: without averaged weights")


class BareLoop:
    """Forward, backward, clipping, AdamW and schedule, a step at a time, as in the loop."""

    def __init__(self, model: nn.Module, dataloader: DataLoader, arguments: LoopArguments):
        self.model = model.train()
        self.arguments = arguments
        self.optimizer = create_optimizer(model, arguments)
        self.scheduler = get_scheduler(
            arguments.lr_scheduler_type, self.optimizer, arguments.warmup_steps, arguments.max_steps
        )
        self.batches = iter(dataloader)
        self.loss = 0.0

    def step(self) -> None:
        batch = next(self.batches)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.arguments.mixed_precision == "bf16"):
            loss = self.model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.arguments.max_grad_norm)
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()
        self.loss = loss.item()


class Interleaved(Objective):
    """Lets the bare loop take a step before each step of the loop, and times both."""

    def __init__(self, bare: BareLoop):
        self.bare = bare
        self.times: dict[str, list[float]] = {LOOP: [], BARE: []}
        self.left: float | None = None
        self.progress = tqdm(total=bare.arguments.max_steps, leave=False)

    def __call__(self, model: nn.Module, batch: Mapping[str, Any], num_items: int) -> torch.Tensor:
        entered = time.perf_counter()
        if self.left is not None:
            self.times[LOOP].append(1000 * (entered - self.left))
        self.bare.step()
        self.left = time.perf_counter()
        self.times[BARE].append(1000 * (self.left - entered))
        self.progress.update()
        loss = super().__call__(model, batch, num_items)
        if self.bare.arguments.mixed_precision == "no":
            torch.testing.assert_close(loss.item(), self.bare.loss, rtol=1e-3, atol=1e-3)
        return loss


def run(args: argparse.Namespace) -> tuple[dict[str, float], Targets]:
    """Median milliseconds of a step, of as many as there are repeats, without the first two."""
    steps = args.repeats + 3  # the last step has no end that is seen
    examples = [
        {
            "region_features": torch.randn(args.positions, args.memory),
            "labels": [torch.randint(4, args.vocabulary, (args.target,)).tolist()],
        }
        for _ in range(args.batch * steps)
    ]
    dataloader = DataLoader(examples, batch_size=args.batch, collate_fn=CaptionCollator())
    model = make_captioner(args)
    with tempfile.TemporaryDirectory() as folder:
        arguments = LoopArguments(
            output_dir=folder,
            max_steps=steps,
            warmup_steps=2,
            mixed_precision=args.mixed_precision,
            ema_decay=args.ema_decay,
        )
        objective = Interleaved(BareLoop(copy.deepcopy(model), dataloader, arguments))
        with objective.progress:
            train(model, arguments, dataloader, make_accelerator(arguments), objective=objective)
    times = {name: statistics.median(values[2:]) for name, values in objective.times.items()}
    return times, {f"{BARE} / {LOOP}": (0.95, None)}
