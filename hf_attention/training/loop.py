"""The training loop, on Accelerate, for every model whose forward returns a loss."""

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import load_model, save_model
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import PreTrainedModel, get_scheduler

from .arguments import LoopArguments
from .objective import Objective


LOG_FILE = "log.jsonl"
BEST_FOLDER = "best"


@dataclass
class TrainingState:
    """How far a run has come.

    Args:
        epoch (`int`): epochs done.
        step (`int`): optimiser steps done.
        steps_per_epoch (`int`): optimiser steps of an epoch.
        best_epoch (`int`): the epoch whose model is kept, counted from 1; 0: none yet.
        best_metrics (`dict[str, float]`, *optional*): its validation metrics.
    """

    epoch: int = 0
    step: int = 0
    steps_per_epoch: int = 0
    best_epoch: int = 0
    best_metrics: dict[str, float] | None = None


@dataclass
class TrainingResult:
    """What [`train`] leaves.

    Args:
        best_model (`Path`): folder of the best model.
        state (`TrainingState`): the state at the end.
    """

    best_model: Path
    state: TrainingState


def make_accelerator(arguments: LoopArguments) -> Accelerator:
    """The `Accelerator` that [`train`] works with. Accumulation is the loop's own: it counts target tokens."""
    return Accelerator(mixed_precision=arguments.mixed_precision)


def prepare_output_dir(arguments: LoopArguments) -> None:
    """Makes the output folder; call it once, on the main process, before anything costly.

    Raises:
        ValueError: if another run lies there, and it is neither to be overwritten nor resumed.
    """
    folder = Path(arguments.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    if arguments.resume_from_checkpoint is None:
        if any(folder.iterdir()) and not arguments.overwrite_output_dir:
            raise ValueError(
                f"`output_dir` {folder} is not empty. Choose another, or `overwrite_output_dir`, or "
                "`resume_from_checkpoint latest`."
            )
        for checkpoint in _checkpoints(folder):
            shutil.rmtree(checkpoint)
        shutil.rmtree(folder / BEST_FOLDER, ignore_errors=True)
        (folder / LOG_FILE).unlink(missing_ok=True)


def create_optimizer(
    model: nn.Module, arguments: LoopArguments, learning_rates: Mapping[str, float] | None = None
) -> torch.optim.AdamW:
    """AdamW without weight decay on biases, norms and embeddings.

    Args:
        model (`nn.Module`): its parameters that require gradients are trained.
        arguments (`LoopArguments`): learning rate and weight decay.
        learning_rates (`Mapping[str, float]`, *optional*):
            Other learning rates, by the prefix of the parameters' names (`"model.encoder.backbone."`).

    Raises:
        ValueError: if a prefix fits no parameter that is trained.
    """
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    unused = set(learning_rates or {})
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decay = 0.0 if parameter.ndim < 2 or id(parameter) in embeddings else arguments.weight_decay
        rate = arguments.learning_rate
        for prefix, other in (learning_rates or {}).items():
            if name.startswith(prefix):
                rate = other
                unused.discard(prefix)
        groups.setdefault((rate, decay), []).append(parameter)
    if unused:
        raise ValueError(f"`learning_rates` names {sorted(unused)}, but no trained parameter's name begins so.")
    return torch.optim.AdamW(
        [{"params": parameters, "lr": rate, "weight_decay": decay} for (rate, decay), parameters in groups.items()],
        fused=True,
    )


def train(
    model: PreTrainedModel,
    arguments: LoopArguments,
    train_dataloader: DataLoader,
    accelerator: Accelerator,
    evaluate: Callable[[PreTrainedModel], dict[str, float]] | None = None,
    save: Callable[[PreTrainedModel, Path], None] | None = None,
    learning_rates: Mapping[str, float] | None = None,
    objective: Objective | None = None,
) -> TrainingResult:
    """Trains a model, and keeps the best one in `output_dir/best`.

    After each epoch the (averaged) weights are evaluated and, if better, saved; then a checkpoint is written. A run
    resumed from a checkpoint ends with the weights of an undisturbed one.

    Args:
        model (`PreTrainedModel`):
            Its forward takes a batch and `num_items_in_batch`, by which it divides the summed loss, and returns an
            output with `loss`.
        arguments (`LoopArguments`): optimisation, checkpoints, log.
        train_dataloader (`DataLoader`):
            Not prepared. Batches hold `labels`, with -100 where there is none. Its batch sampler or sampler, if it
            has `set_epoch`, is told the number of each epoch.
        accelerator (`Accelerator`): see [`make_accelerator`].
        evaluate (`Callable`, *optional*):
            Takes the model in evaluation mode and returns metrics; called on every process. Without it, the last
            epoch counts as the best.
        save (`Callable`, *optional*):
            Saves a model (and what belongs to it) to a folder; called on the main process. Defaults to
            `model.save_pretrained(folder)`.
        learning_rates (`Mapping[str, float]`, *optional*): see [`create_optimizer`].
        objective ([`Objective`], *optional*): what is minimised. Defaults to the model's own loss.

    Returns:
        `TrainingResult`: the folder of the best model and the final state.

    Raises:
        FloatingPointError: if the loss or the gradient is no longer finite.
        ValueError: if the data is empty, or a checkpoint does not fit or exist.
    """
    if len(train_dataloader) == 0:
        raise ValueError("There is no training data: `train_dataloader` is empty.")
    folder = Path(arguments.output_dir)
    objective = objective or Objective()
    averaged = _averaged_model(model, arguments.ema_decay).to(accelerator.device) if arguments.ema_decay else None
    optimizer = create_optimizer(model, arguments, learning_rates)
    samplers = (train_dataloader.batch_sampler, train_dataloader.sampler)
    model, prepared_optimizer, train_dataloader = accelerator.prepare(model, optimizer, train_dataloader)
    state = TrainingState(steps_per_epoch=math.ceil(len(train_dataloader) / arguments.gradient_accumulation_steps))
    # Not prepared by Accelerate, which would step it once for each process.
    scheduler = get_scheduler(
        arguments.lr_scheduler_type,
        optimizer,
        num_warmup_steps=arguments.warmup_steps,
        num_training_steps=state.steps_per_epoch * arguments.num_train_epochs,
    )
    evaluated = averaged.module if averaged is not None else accelerator.unwrap_model(model)
    log = _Log(folder / LOG_FILE, arguments.logging_steps, accelerator)
    if arguments.resume_from_checkpoint is not None:
        checkpoint = _find_checkpoint(arguments)
        state = _load_checkpoint(accelerator, checkpoint, state, scheduler, averaged)
        log.write({"resumed_from": checkpoint.name, "step": state.step})

    while state.epoch < arguments.num_train_epochs and not _out_of_patience(state, arguments):
        for sampler in samplers:
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(state.epoch)
        if hasattr(train_dataloader, "set_epoch"):
            train_dataloader.set_epoch(state.epoch)
        objective.begin_epoch(state.epoch)
        model.train()
        progress = tqdm(
            _steps(train_dataloader, arguments.gradient_accumulation_steps),
            total=state.steps_per_epoch,
            desc=f"epoch {state.epoch + 1}/{arguments.num_train_epochs}",
            disable=not accelerator.is_local_main_process,
        )
        for batches in progress:
            loss, tokens = _accumulate(objective, model, batches, accelerator)
            norm = accelerator.clip_grad_norm_(model.parameters(), arguments.max_grad_norm)
            # With fp16 the scaler itself skips steps whose gradient overflows.
            if not math.isfinite(loss) or not (accelerator.scaler or math.isfinite(norm)):
                raise FloatingPointError(
                    f"The loss is {loss} and the norm of its gradient {float(norm)} at step {state.step + 1} "
                    f"(epoch {state.epoch + 1}, batch {state.step % state.steps_per_epoch + 1} of it). Look for bad "
                    "values in that batch, or lower the learning rate."
                )
            prepared_optimizer.step()
            log.step(state, loss, tokens, scheduler.get_last_lr()[0], float(norm))
            scheduler.step()
            optimizer.zero_grad()
            if averaged is not None:
                averaged.update_parameters(accelerator.unwrap_model(model))
            state.step += 1
            progress.set_postfix(loss=f"{loss:.3f}")
        state.epoch += 1

        evaluated.eval()
        started = time.perf_counter()
        metrics = evaluate(evaluated) if evaluate is not None else {}
        log.write(
            {"epoch": state.epoch, "step": state.step, **metrics, "evaluation_seconds": time.perf_counter() - started}
        )
        if evaluate is None or _is_better(metrics, state.best_metrics, arguments):
            state.best_epoch, state.best_metrics = state.epoch, metrics
            if accelerator.is_main_process:
                _replace_folder(
                    folder / BEST_FOLDER, lambda partial: (save or PreTrainedModel.save_pretrained)(evaluated, partial)
                )
        _save_checkpoint(accelerator, folder, state, scheduler, averaged, arguments.save_total_limit)
    return TrainingResult(folder / BEST_FOLDER, state)


def _averaged_model(model: nn.Module, decay: float) -> AveragedModel:
    """A copy that follows the weights; at first closely, so that it forgets the random ones at the start."""

    def average(averaged, current, updates):
        early = (1 + int(updates)) / (10 + int(updates))
        get_ema_multi_avg_fn(min(decay, early))(averaged, current, updates)

    return AveragedModel(model, multi_avg_fn=average).requires_grad_(False).eval()


def _steps(dataloader: DataLoader, size: int) -> Iterator[list[dict[str, torch.Tensor]]]:
    batches = iter(dataloader)
    while step := list(islice(batches, size)):
        yield step


def _accumulate(
    objective: Objective, model: nn.Module, batches: list[dict[str, torch.Tensor]], accelerator: Accelerator
) -> tuple[float, int]:
    """Adds up the gradient of the loss per item over the batches of a step and all processes.

    Returns:
        `tuple[float, int]`: that loss, and the number of items.
    """
    tokens = sum(objective.num_items(batch) for batch in batches)
    tokens = int(accelerator.reduce(tokens, reduction="sum"))
    total = 0.0
    for number, batch in enumerate(batches, 1):
        with accelerator.no_sync(model) if number < len(batches) else nullcontext():
            loss = objective(model, batch, max(tokens, 1))
            # Gradients are averaged over processes, where the sum is wanted.
            accelerator.backward(loss * accelerator.num_processes)
        total = total + loss.detach()
    return float(accelerator.reduce(total, reduction="sum")), tokens


def _is_better(metrics: Mapping[str, float], best: Mapping[str, float] | None, arguments: LoopArguments) -> bool:
    name = arguments.metric_for_best_model
    if name not in metrics:
        raise ValueError(f"`metric_for_best_model` is {name!r}, but the metrics are {sorted(metrics)}.")
    if best is None:
        return True
    return metrics[name] > best[name] if arguments.greater_is_better else metrics[name] < best[name]


def _out_of_patience(state: TrainingState, arguments: LoopArguments) -> bool:
    patience = arguments.early_stopping_patience
    return patience is not None and state.epoch - state.best_epoch >= patience and state.epoch > 0


def _replace_folder(folder: Path, write: Callable[[Path], Any]) -> None:
    """Writes a folder beside its place and moves it there, so that there is never half a folder under its name."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    write(partial)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)


def _checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.removeprefix("checkpoint-")))


def _find_checkpoint(arguments: LoopArguments) -> Path:
    wanted = arguments.resume_from_checkpoint
    if wanted == "latest":
        checkpoints = _checkpoints(Path(arguments.output_dir))
        if not checkpoints:
            raise ValueError(f"`resume_from_checkpoint` is 'latest', but {arguments.output_dir} holds no checkpoint.")
        return checkpoints[-1]
    if not (Path(wanted) / "training_state.json").is_file():
        raise ValueError(f"`resume_from_checkpoint` is {wanted!r}, which holds no checkpoint of this loop.")
    return Path(wanted)


def _save_checkpoint(
    accelerator: Accelerator,
    folder: Path,
    state: TrainingState,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    averaged: AveragedModel | None,
    limit: int,
) -> None:
    target = folder / f"checkpoint-{state.epoch}"
    partial = folder / f".{target.name}.partial"
    if accelerator.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(partial))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        # Registering these with Accelerate would have them unpickled.
        if averaged is not None:
            save_model(averaged, str(partial / "averaged.safetensors"))
        (partial / "training_state.json").write_text(
            json.dumps({"state": asdict(state), "scheduler": scheduler.state_dict()}, indent=1)
        )
        shutil.rmtree(target, ignore_errors=True)
        os.replace(partial, target)
        for old in _checkpoints(folder)[:-limit]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()


def _load_checkpoint(
    accelerator: Accelerator,
    checkpoint: Path,
    fresh: TrainingState,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    averaged: AveragedModel | None,
) -> TrainingState:
    saved = json.loads((checkpoint / "training_state.json").read_text())
    state = TrainingState(**saved["state"])
    if state.steps_per_epoch != fresh.steps_per_epoch:
        raise ValueError(
            f"{checkpoint} comes from a run with {state.steps_per_epoch} steps an epoch, this one has "
            f"{fresh.steps_per_epoch}: data, batch size, accumulation and processes must be the same."
        )
    if (averaged is not None) != (checkpoint / "averaged.safetensors").is_file():
        raise ValueError(f"{checkpoint} and this run differ in `ema_decay`: only one of them averages weights.")
    accelerator.load_state(str(checkpoint))
    if averaged is not None:
        load_model(averaged, str(checkpoint / "averaged.safetensors"))
    scheduler.load_state_dict(saved["scheduler"])
    return state


class _Log:
    """The lines of log.jsonl, written by the main process."""

    def __init__(self, path: Path, every: int, accelerator: Accelerator):
        self.path = path
        self.every = every
        self.enabled = accelerator.is_main_process
        self._start()

    def _start(self) -> None:
        self.losses, self.tokens, self.started = [], 0, time.perf_counter()

    def step(self, state: TrainingState, loss: float, tokens: int, learning_rate: float, norm: float) -> None:
        self.losses.append(loss)
        self.tokens += tokens
        if (state.step + 1) % self.every == 0:
            self.write(
                {
                    "epoch": state.epoch + 1,
                    "step": state.step + 1,
                    "loss": sum(self.losses) / len(self.losses),
                    "learning_rate": learning_rate,
                    "gradient_norm": norm,
                    "tokens_per_second": self.tokens / (time.perf_counter() - self.started),
                }
            )

    def write(self, line: Mapping[str, Any]) -> None:
        """Appends a line, and starts a new interval."""
        if self.enabled:
            with self.path.open("a") as file:
                file.write(json.dumps(line) + "\n")
        self._start()
