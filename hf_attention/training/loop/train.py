"""The training loop, on Accelerate, for every model whose forward returns a loss."""

import copy
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, DistributedType, parse_flag_from_env, set_seed
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import PreTrainedModel, get_scheduler

from ..data.streaming import BatchStream
from ..files import replace_folder
from .arguments import LoopArguments
from .averaging import RunningAverage, choose_candidates, keep_candidates, load_average, save_candidate
from .batches import Share, SizedBatches
from .checkpoints import BEST_FOLDER, LATEST, Checkpoints, TrainingState, find_checkpoint, prepare_output_dir
from .interruption import StopSignals, spare_workers
from .objective import Objective
from .streamed_batches import StreamedBatches
from .threads import mention_idle_processors
from .tracking import Log, check_tracker


__all__ = [
    "BEST_FOLDER",
    "TrainingResult",
    "TrainingState",
    "create_optimizer",
    "make_accelerator",
    "prepare_output_dir",
    "train",
]

logger = logging.getLogger(__name__)


@dataclass
class TrainingResult:
    """
    What [`train`] leaves.

    Args:
        best_model (`Path`):
            Folder of the best model.
        state (`TrainingState`):
            The state at the end.
    """

    best_model: Path
    state: TrainingState


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a warning of Accelerate is more than that weights are tied, of which it warns at each save."""
    return "Removed shared tensor" not in str(record.msg)


def make_accelerator(arguments: LoopArguments) -> Accelerator:
    """
    The `Accelerator` that [`train`] works with.

    Accumulation is the loop's own: it counts target tokens. Uneven batches stay so: examples that Accelerate would
    repeat to even them out would count twice.

    Raises:
        ImportError: If the tracker is not installed.
        ValueError: If FSDP is asked for where Accelerate does not shard.
    """
    check_tracker(arguments.report_to)
    logging.getLogger("accelerate.utils.other").addFilter(_is_news)
    accelerator = Accelerator(
        mixed_precision=arguments.mixed_precision,
        dataloader_config=DataLoaderConfiguration(even_batches=False),
        log_with=None if arguments.report_to == "none" else arguments.report_to,
        project_dir=arguments.output_dir,
    )
    if parse_flag_from_env("ACCELERATE_USE_FSDP") and accelerator.distributed_type != DistributedType.FSDP:
        raise ValueError(
            "FSDP is asked for, but Accelerate shards a model over several accelerators only; here it would train on "
            f"{accelerator.device} without."
        )
    if accelerator.device.type == "cpu":
        mention_idle_processors(accelerator.num_processes)
    return accelerator


def create_optimizer(
    model: nn.Module, arguments: LoopArguments, learning_rates: Mapping[str, float] | None = None
) -> torch.optim.AdamW:
    """
    AdamW without weight decay on biases, norms and embeddings.

    Args:
        model (`nn.Module`):
            Its parameters that require gradients are trained.
        arguments (`LoopArguments`):
            Learning rate and weight decay.
        learning_rates (`Mapping[str, float]`, *optional*):
            Other learning rates, by the prefix of the parameters' names (`"model.encoder.backbone."`).

    Raises:
        ValueError: If a prefix fits no parameter that is trained.
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
    optimizer: torch.optim.Optimizer | None = None,
    objective: Objective | None = None,
    after_checkpoint: Callable[[Path], None] | None = None,
) -> TrainingResult:
    """
    Trains a model, and keeps the best one in `output_dir/best`.

    After each epoch a checkpoint is written, and the (averaged) weights are evaluated and, if better, saved. At the
    end, with `average_checkpoints`, so is the mean of the weights of several epochs. A run resumed from a checkpoint,
    within an epoch too, ends with the weights of an undisturbed one; what followed the checkpoint, a validation too,
    is done again. Upon SIGTERM or Ctrl-C the step is finished and a checkpoint written; a validation is left at once.

    Args:
        model (`PreTrainedModel`):
            Its forward takes a batch and `num_items_in_batch`, by which it divides the summed loss, and returns an
            output with `loss`. With an `objective`, whatever that asks of it.
        arguments (`LoopArguments`):
            Optimisation, checkpoints, log.
        train_dataloader (`DataLoader`):
            Not prepared. Batches hold `labels`, with -100 where there is none. Its batch sampler or sampler, if it
            has `set_epoch`, is told the number of each epoch. Of a data set without a length, one of
            [`~hf_attention.training.data.streaming.streamed_dataloader`].
        accelerator (`Accelerator`):
            See [`make_accelerator`].
        evaluate (`Callable`, *optional*):
            Takes the model in evaluation mode and returns metrics; called on every process. Without it, the last
            epoch counts as the best.
        save (`Callable`, *optional*):
            Saves a model (and what belongs to it) to a folder; called on the main process. Defaults to
            `model.save_pretrained(folder)`.
        learning_rates (`Mapping[str, float]`, *optional*):
            See [`create_optimizer`].
        optimizer (`torch.optim.Optimizer`, *optional*):
            Of the model's parameters. Defaults to [`create_optimizer`]'s, for which alone `learning_rates` are.
        objective ([`Objective`], *optional*):
            What is minimised. Defaults to the model's own loss.
        after_checkpoint (`Callable`, *optional*):
            Takes the folder of a checkpoint that was just written; called on the main process.

    Returns:
        `TrainingResult`: The folder of the best model and the final state.

    Raises:
        FloatingPointError: If the loss or the gradient is no longer finite.
        OSError: If a checkpoint or model cannot be written; what was written before it is whole.
        SystemExit: With the code 143 upon SIGTERM, 130 upon Ctrl-C, after a checkpoint was written.
        ValueError: If the data is empty, a checkpoint does not fit or exist, or arguments do not go together.
    """
    _check(arguments, accelerator, evaluate)
    objective = objective or Objective()
    set_seed(arguments.seed, device_specific=True)  # dropout differs between processes
    spare_workers(train_dataloader)
    if isinstance(train_dataloader.dataset, BatchStream):
        batches = StreamedBatches(train_dataloader, accelerator, arguments.gradient_accumulation_steps)
    else:
        batches = SizedBatches(train_dataloader, accelerator, arguments.gradient_accumulation_steps, arguments.seed)
    total_steps = arguments.max_steps or batches.steps_per_epoch * arguments.num_train_epochs
    if arguments.lr_scheduler_type == "polynomial" and arguments.warmup_steps >= total_steps:
        raise ValueError(
            "`warmup_steps` must be fewer than the run's with `lr_scheduler_type` 'polynomial', got "
            f"{arguments.warmup_steps} of {total_steps}."
        )
    schedules = arguments.lr_scheduler_type != "constant" and not arguments.dry_run
    if schedules and total_steps <= arguments.warmup_steps and accelerator.is_main_process:
        logger.warning(
            "The run has %d steps and `warmup_steps` is %d: the learning rate never reaches `learning_rate`.",
            total_steps,
            arguments.warmup_steps,
        )
    # Of a sharded model no process can generate: it is evaluated as this whole one.
    whole = copy.deepcopy(model) if accelerator.distributed_type == DistributedType.FSDP else None
    config = getattr(model, "config", None)
    optimizer = optimizer or create_optimizer(model, arguments, learning_rates)
    model, prepared_optimizer = accelerator.prepare(model, optimizer)
    # Not prepared by Accelerate, which would step it once for each process.
    scheduler = get_scheduler(
        arguments.lr_scheduler_type,
        optimizer,
        num_warmup_steps=arguments.warmup_steps,
        num_training_steps=total_steps,
    )
    average = RunningAverage(model, arguments.ema_decay) if arguments.ema_decay else None
    checkpoints = Checkpoints(arguments, accelerator, scheduler, batches, objective, average, config)
    validation = _Validation(arguments, accelerator, evaluate, save or PreTrainedModel.save_pretrained)
    log = Log(arguments, accelerator)
    state = TrainingState(steps_per_epoch=batches.steps_per_epoch, num_processes=accelerator.num_processes)
    if arguments.resume_from_checkpoint is not None:
        checkpoint = find_checkpoint(arguments)
        state = checkpoints.load(checkpoint, state)
        if state.step > total_steps:
            raise ValueError(
                f"{checkpoint} lies at step {state.step}, beyond the {total_steps} of this run: give more "
                "`max_steps` or `num_train_epochs`."
            )
        log.write(state.step, {"resumed_from": checkpoint.name})
    progress = tqdm(total=total_steps, initial=state.step, disable=not accelerator.is_local_main_process)

    def save_checkpoint() -> None:
        if checkpoints.latest_step == state.step:
            return
        checkpoint = checkpoints.save(state)
        if after_checkpoint is not None and accelerator.is_main_process:
            after_checkpoint(checkpoint)

    def how_to_go_on() -> str:
        return f"Go on from {checkpoints.latest} with `--resume_from_checkpoint {LATEST}`."

    def leave() -> None:
        save_checkpoint()
        accelerator.end_training()
        stop.leave(how_to_go_on(), accelerator.is_main_process)

    with StopSignals() as stop, progress:
        is_over = False
        while not is_over:
            done = state.step - state.epoch * state.steps_per_epoch
            if done == 0:
                objective.begin_epoch(state.epoch)
            progress.set_description(f"epoch {state.epoch + 1}")
            model.train()
            # None are left where the run resumes before a validation.
            is_left = done < state.steps_per_epoch and state.step < total_steps
            for shares in batches.epoch(state.epoch, done) if is_left else ():
                items, stopped = _count(objective, shares, accelerator, stop)
                if stopped:
                    leave()
                loss = _accumulate(objective, model, shares, max(items, 1), accelerator)
                norm = float(accelerator.clip_grad_norm_(model.parameters(), arguments.max_grad_norm or math.inf))
                # With fp16 the scaler itself skips steps whose gradient overflows.
                if not math.isfinite(loss) or not (accelerator.scaler or math.isfinite(norm)):
                    raise FloatingPointError(
                        f"The loss is {loss} and the norm of its gradient {norm} at step {state.step + 1} (epoch "
                        f"{state.epoch + 1}, batch {state.step % state.steps_per_epoch + 1} of it). Look for bad "
                        "values in that batch, or lower the learning rate."
                    )
                learning_rate = scheduler.get_last_lr()[0]
                prepared_optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
                if average is not None:
                    average.update(state.step)
                state.step += 1
                means = log.step(state.step, state.epoch + 1, loss, items, learning_rate, norm, batches.end_step())
                progress.update()
                progress.set_postfix_str(
                    f"loss {means['loss']:.3f}, lr {learning_rate:.2g}, {means['tokens_per_second']:.0f} tokens/s"
                )
                if state.step == total_steps:
                    break
                if state.step % state.steps_per_epoch and _is_due(arguments, state.step):
                    save_checkpoint()
            # Before the validation, which may take long, so that it need not be waited for.
            save_checkpoint()
            if _sum_over_processes(accelerator, stop.received)[0]:
                leave()
            state.epoch += 1
            with stop.at_once(how_to_go_on()), _evaluated(model, accelerator, average, whole) as evaluated:
                metrics = validation(evaluated, state, log)
            if metrics and accelerator.is_local_main_process:
                name = arguments.metric_for_best_model
                progress.write(f"epoch {state.epoch}: {name} {metrics[name]:.4g}")
            is_over = state.step >= total_steps or _out_of_patience(state, arguments)
        if state.candidates:
            with stop.at_once(how_to_go_on()), _evaluated(model, accelerator, None, whole) as evaluated:
                validation.average(evaluated, state, log)
    return TrainingResult(validation.best_model, state)


class _Validation:
    """Evaluates models, and keeps the best."""

    def __init__(
        self,
        arguments: LoopArguments,
        accelerator: Accelerator,
        evaluate: Callable[[PreTrainedModel], dict[str, float]] | None,
        save: Callable[[PreTrainedModel, Path], None],
    ):
        self.arguments = arguments
        self.accelerator = accelerator
        self.evaluate = evaluate
        self.save = save
        self.folder = Path(arguments.output_dir)
        self.best_model = self.folder / BEST_FOLDER

    def __call__(self, model: PreTrainedModel, state: TrainingState, log: Log) -> dict[str, float]:
        """After an epoch; returns the metrics."""
        arguments = self.arguments
        metrics = self._metrics(model, state, log, {"epoch": state.epoch})
        if self.evaluate is None or self._is_better(metrics, state.best_metrics):
            state.best_epoch, state.best_metrics = state.epoch, metrics
            self._keep(model)
        if arguments.average_checkpoints:
            scored = [*state.candidates, (state.epoch, metrics[arguments.metric_for_best_model])]
            state.candidates = choose_candidates(
                scored, arguments.average_checkpoints, arguments.average_by, arguments.greater_is_better
            )
            if self.accelerator.is_main_process and state.epoch in dict(state.candidates):
                save_candidate(model, self.folder, state.epoch)
                keep_candidates(self.folder, [epoch for epoch, _ in state.candidates])
        self.accelerator.wait_for_everyone()  # the others may read what the main process has written
        return metrics

    def average(self, model: PreTrainedModel, state: TrainingState, log: Log) -> None:
        """At the end of a run: the mean of the candidates' weights."""
        epochs = [epoch for epoch, _ in state.candidates]
        if len(epochs) < 2:
            return
        load_average(model, self.folder, epochs)
        metrics = self._metrics(model, state, log, {"average_of_epochs": epochs})
        if self._is_better(metrics, state.best_metrics):
            state.averaged_epochs, state.best_metrics = epochs, metrics
            self._keep(model)
        self.accelerator.wait_for_everyone()

    def _metrics(self, model: PreTrainedModel, state: TrainingState, log: Log, about: dict) -> dict[str, float]:
        started = time.perf_counter()
        metrics = self.evaluate(model) if self.evaluate is not None else {}
        log.write(state.step, {**about, **metrics, "evaluation_seconds": time.perf_counter() - started}, "validation")
        return metrics

    def _keep(self, model: PreTrainedModel) -> None:
        if self.accelerator.is_main_process:
            replace_folder(self.best_model, lambda partial: self.save(model, partial))

    def _is_better(self, metrics: Mapping[str, float], best: Mapping[str, float] | None) -> bool:
        name = self.arguments.metric_for_best_model
        if name not in metrics:
            raise ValueError(f"`metric_for_best_model` is {name!r}, but the metrics are {sorted(metrics)}.")
        if best is None:
            return True
        return metrics[name] > best[name] if self.arguments.greater_is_better else metrics[name] < best[name]


def _check(arguments: LoopArguments, accelerator: Accelerator, evaluate: Callable | None) -> None:
    """Refuses what does not go together."""
    if arguments.average_checkpoints and evaluate is None:
        raise ValueError("`average_checkpoints` needs a validation to compare with.")
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        if arguments.ema_decay:
            raise ValueError("`ema_decay` must be 0 with DeepSpeed, which keeps the weights to itself.")
        if arguments.gradient_accumulation_steps > 1:
            raise ValueError("`gradient_accumulation_steps` must be 1 with DeepSpeed, which steps at every batch.")


def _count(objective: Objective, shares: list[Share], accelerator: Accelerator, stop: StopSignals) -> tuple[int, bool]:
    """The items of a step over all processes, and whether one of them is to stop."""
    items = sum(int(objective.num_items(share.batch)) for share in shares if share.counts)
    items, stopped = _sum_over_processes(accelerator, items, stop.received)
    return items, stopped > 0


def _sum_over_processes(accelerator: Accelerator, *counts: int) -> list[int]:
    return accelerator.reduce(torch.tensor(counts, device=accelerator.device), reduction="sum").tolist()


def _accumulate(
    objective: Objective, model: nn.Module, shares: list[Share], items: int, accelerator: Accelerator
) -> float:
    """Adds up the gradient of the loss per item over the batches of a step and all processes; returns that loss."""
    total = 0.0
    for number, share in enumerate(shares, 1):
        with accelerator.no_sync(model) if number < len(shares) else nullcontext():
            loss = objective(model, share.batch, items) * share.counts
            # Gradients are averaged over processes, where the sum is wanted.
            accelerator.backward(loss * accelerator.num_processes)
        total = total + loss.detach()
    return float(accelerator.reduce(total, reduction="sum"))


@contextmanager
def _evaluated(
    model: nn.Module, accelerator: Accelerator, average: RunningAverage | None, whole: PreTrainedModel | None
) -> Iterator[PreTrainedModel]:
    """The model in evaluation mode, with the averaged weights where they are averaged."""
    with average.applied() if average is not None else nullcontext():
        if whole is None:
            yield accelerator.unwrap_model(model).eval()
        else:
            whole.load_state_dict(get_model_state_dict(model, options=StateDictOptions(full_state_dict=True)))
            yield whole.to(accelerator.device).eval()


def _out_of_patience(state: TrainingState, arguments: LoopArguments) -> bool:
    patience = arguments.early_stopping_patience
    return patience is not None and state.epoch - state.best_epoch >= patience and state.epoch > 0


def _is_due(arguments: LoopArguments, step: int) -> bool:
    return arguments.checkpointing_steps != "epoch" and step % int(arguments.checkpointing_steps) == 0
