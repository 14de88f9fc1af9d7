"""What the training loop is told."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch

from ...arguments import COUNT, NOT_NEGATIVE, PROPORTION, SEED, CheckedArguments
from ...models.ranges import Range


DRY_RUN_STEPS = 2


DRY_RUN_SAMPLES = 16

LESS_IS_BETTER = ("loss", "perplexity", "ter")

Schedule = Literal[
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
]


@dataclass
class LoopArguments(CheckedArguments):
    """What [`~hf_attention.training.loop.train.train`] is told, whatever the model."""

    output_dir: str = field(metadata={"help": "Folder of the run: checkpoints, log and, at the end, the best model."})
    overwrite_output_dir: bool = field(
        default=False, metadata={"help": "Delete another run's checkpoints and log from output_dir."}
    )
    resume_from_checkpoint: str | None = field(
        default=None, metadata={"help": "A checkpoint folder, or 'latest': the newest whole one of output_dir."}
    )
    seed: Annotated[int, SEED] = field(
        default=0, metadata={"help": "Seed of the weights, of dropout and of the order of the data."}
    )
    num_train_epochs: Annotated[int, COUNT] = field(default=10, metadata={"help": "Passes over the training data."})
    max_steps: Annotated[int | None, COUNT] = field(
        default=None, metadata={"help": "Instead of num_train_epochs: the optimiser steps of the run."}
    )
    dry_run: bool = field(
        default=False,
        metadata={"help": "Build everything, take two steps, validate on a few samples and save: does it run at all?"},
    )
    learning_rate: Annotated[float, NOT_NEGATIVE] = field(
        default=8e-4, metadata={"help": "Highest learning rate of AdamW."}
    )
    weight_decay: Annotated[float, NOT_NEGATIVE] = field(
        default=0.01, metadata={"help": "Decay of weight matrices; biases, norms and embeddings have none."}
    )
    lr_scheduler_type: Schedule = field(
        default="cosine", metadata={"help": "A schedule of transformers.get_scheduler that needs no more options."}
    )
    warmup_steps: Annotated[int, NOT_NEGATIVE] = field(
        default=200, metadata={"help": "Steps in which the learning rate rises from 0."}
    )
    max_grad_norm: Annotated[float, Range(0, math.inf, "[]")] = field(
        default=2.0, metadata={"help": "Gradients are clipped to this norm; 0: they are not."}
    )
    gradient_accumulation_steps: Annotated[int, COUNT] = field(default=1, metadata={"help": "Batches of one step."})
    mixed_precision: Literal["no", "bf16", "fp16"] | None = field(
        default=None, metadata={"help": "Precision of forward and backward; the weights stay float32."}
    )
    ema_decay: Annotated[float, PROPORTION] = field(
        default=0.998,
        metadata={"help": "Decay of the averaged weights, which are evaluated and saved; 0: no averaging."},
    )
    metric_for_best_model: str = field(default="cider", metadata={"help": "The validation metric to select by."})
    greater_is_better: bool = field(default=True, metadata={"help": "Whether more of that metric is better."})
    early_stopping_patience: Annotated[int | None, COUNT] = field(
        default=None, metadata={"help": "Stop after so many epochs without a better metric."}
    )
    average_checkpoints: Annotated[int, NOT_NEGATIVE] = field(
        default=0,
        metadata={
            "help": "At the end, also try the mean of the weights of so many epochs, and keep it if it is better on "
            "validation; 0: do not."
        },
    )
    average_by: Literal["last", "best"] = field(
        default="best", metadata={"help": "Which epochs these are: the last ones, or those with the best metric."}
    )
    checkpointing_steps: str = field(
        default="epoch",
        metadata={"help": "Write a checkpoint every so many steps, too; epoch: only at the end of each epoch."},
    )
    save_total_limit: Annotated[int, COUNT] = field(default=1, metadata={"help": "Checkpoints that are kept."})
    logging_steps: Annotated[int, COUNT] = field(
        default=50, metadata={"help": "Steps between two lines of log.jsonl."}
    )
    report_to: Literal["none", "tensorboard", "wandb", "trackio"] = field(
        default="none", metadata={"help": "The tracker that also gets the numbers of log.jsonl."}
    )
    dataloader_num_workers: Annotated[int, NOT_NEGATIVE] = field(
        default=0, metadata={"help": "Processes that read data; 0: this one."}
    )

    def __post_init__(self):
        super().__post_init__()
        if self.dry_run:
            self.max_steps = DRY_RUN_STEPS
        if self.checkpointing_steps != "epoch" and not (
            self.checkpointing_steps.isdecimal() and int(self.checkpointing_steps) > 0
        ):
            raise ValueError(
                f"`checkpointing_steps` must be a number of steps or 'epoch', got {self.checkpointing_steps!r}."
            )
        if self.average_checkpoints == 1:
            raise ValueError(f"`average_checkpoints` must be 0, or at least 2, got {self.average_checkpoints}.")

    def check_metric(self, metrics: Iterable[str]) -> None:
        """
        Args:
            metrics (`Iterable[str]`): The metrics that there are.

        Raises:
            ValueError: If `metric_for_best_model` is none of them, or `greater_is_better` is not so of it.
        """
        name = self.metric_for_best_model
        if name not in metrics:
            raise ValueError(f"`metric_for_best_model` must be one of {', '.join(metrics)}, got {name!r}.")
        if self.greater_is_better == (name in LESS_IS_BETTER):
            raise ValueError(
                f"`greater_is_better` must be {not self.greater_is_better} with `metric_for_best_model` {name!r}, got "
                f"{self.greater_is_better}."
            )

    def eval_samples(self, max_eval_samples: int | None) -> int | None:
        """How many samples of a split to evaluate on: a few in a dry run, else as many as is asked."""
        return min(max_eval_samples or DRY_RUN_SAMPLES, DRY_RUN_SAMPLES) if self.dry_run else max_eval_samples


def processor_precision() -> Literal["no", "bf16"]:
    """A `mixed_precision` for processors: those without instructions for bfloat16 emulate them, slowly."""
    return "bf16" if getattr(torch.cpu, "get_capabilities", dict)().get("avx512_bf16") else "no"
