"""What the training loop is told."""

from dataclasses import dataclass, field
from typing import Literal

import torch


DRY_RUN_STEPS = 2


DRY_RUN_SAMPLES = 16


@dataclass
class LoopArguments:
    """What [`~hf_attention.training.loop.train.train`] is told, whatever the model."""

    output_dir: str = field(metadata={"help": "Folder of the run: checkpoints, log and, at the end, the best model."})
    overwrite_output_dir: bool = field(
        default=False, metadata={"help": "Delete another run's checkpoints and log from output_dir."}
    )
    resume_from_checkpoint: str | None = field(
        default=None, metadata={"help": "A checkpoint folder, or 'latest': the newest whole one of output_dir."}
    )
    seed: int = field(default=0, metadata={"help": "Seed of the weights, of dropout and of the order of the data."})
    num_train_epochs: int = field(default=10, metadata={"help": "Passes over the training data."})
    max_steps: int | None = field(
        default=None, metadata={"help": "Instead of num_train_epochs: the optimiser steps of the run."}
    )
    dry_run: bool = field(
        default=False,
        metadata={"help": "Build everything, take two steps, validate on a few samples and save: does it run at all?"},
    )
    learning_rate: float = field(default=8e-4, metadata={"help": "Highest learning rate of AdamW."})
    weight_decay: float = field(
        default=0.01, metadata={"help": "Decay of weight matrices; biases, norms and embeddings have none."}
    )
    lr_scheduler_type: str = field(default="cosine", metadata={"help": "A schedule of transformers.get_scheduler."})
    warmup_steps: int = field(default=200, metadata={"help": "Steps in which the learning rate rises from 0."})
    max_grad_norm: float = field(default=2.0, metadata={"help": "Gradients are clipped to this norm."})
    gradient_accumulation_steps: int = field(default=1, metadata={"help": "Batches of one step."})
    mixed_precision: Literal["no", "bf16", "fp16"] | None = field(
        default=None, metadata={"help": "Precision of forward and backward; the weights stay float32."}
    )
    ema_decay: float = field(
        default=0.998,
        metadata={"help": "Decay of the averaged weights, which are evaluated and saved; 0: no averaging."},
    )
    metric_for_best_model: str = field(default="cider", metadata={"help": "The validation metric to select by."})
    greater_is_better: bool = field(default=True, metadata={"help": "Whether more of that metric is better."})
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "Stop after so many epochs without a better metric."}
    )
    average_checkpoints: int = field(
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
    save_total_limit: int = field(default=1, metadata={"help": "Checkpoints that are kept."})
    logging_steps: int = field(default=50, metadata={"help": "Steps between two lines of log.jsonl."})
    report_to: Literal["none", "tensorboard", "wandb", "trackio"] = field(
        default="none", metadata={"help": "The tracker that also gets the numbers of log.jsonl."}
    )
    dataloader_num_workers: int = field(default=0, metadata={"help": "Processes that read data; 0: this one."})

    def __post_init__(self):
        if self.dry_run:
            self.max_steps = DRY_RUN_STEPS
        counts = ("num_train_epochs", "max_steps", "gradient_accumulation_steps", "save_total_limit", "logging_steps")
        for name in counts:
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        if self.checkpointing_steps != "epoch" and not (
            self.checkpointing_steps.isdecimal() and int(self.checkpointing_steps) > 0
        ):
            raise ValueError(
                f"`checkpointing_steps` must be a number of steps or 'epoch', got {self.checkpointing_steps!r}."
            )
        if self.average_checkpoints < 0 or self.average_checkpoints == 1:
            raise ValueError(f"`average_checkpoints` must be 0, or at least 2, got {self.average_checkpoints}.")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"`ema_decay` must lie in [0, 1), got {self.ema_decay}.")

    def eval_samples(self, max_eval_samples: int | None) -> int | None:
        """How many samples of a split to evaluate on: a few in a dry run, else as many as is asked."""
        return min(max_eval_samples or DRY_RUN_SAMPLES, DRY_RUN_SAMPLES) if self.dry_run else max_eval_samples


def processor_precision() -> Literal["no", "bf16"]:
    """A `mixed_precision` for processors: those without instructions for bfloat16 emulate them, slowly."""
    return "bf16" if getattr(torch.cpu, "get_capabilities", dict)().get("avx512_bf16") else "no"
