"""A run's folder: its checkpoints and its best model, each written whole or not at all, and found again."""

import json
import logging
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from safetensors.torch import load_file, save_file
from transformers import PreTrainedConfig

from ..data.tokenization import TOKENIZER_FOLDER
from ..files import (
    MANIFEST_FILE,
    begin_folder,
    clear_leftovers,
    damage,
    link_folder,
    move_folder,
    place_beside,
    remove_folder,
    removed_on_error,
    replace_folder,
    write_manifest,
)
from .arguments import LoopArguments
from .averaging import CANDIDATES_FOLDER, RunningAverage
from .batches import Batches
from .objective import Objective
from .tracking import LOG_FILE, TRACKING_FOLDER


logger = logging.getLogger(__name__)

LATEST = "latest"
BEST_FOLDER = "best"
STATE_FILE = "training_state.json"
# What belongs to a run beside its checkpoints. Each of these holds what there was of it then.
RUN_FOLDERS = (TOKENIZER_FOLDER, BEST_FOLDER, CANDIDATES_FOLDER)
# Fields of a configuration that tell where it comes from, or that `save_pretrained` sets on the process that saves.
_NOT_OF_THE_MODEL = ("_name_or_path", "auto_map", "architectures", "transformers_version", "dtype")


def _of_the_model(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a configuration, and of those within it, that say what the model is."""
    return {
        name: _of_the_model(value) if isinstance(value, dict) else value
        for name, value in fields.items()
        if name not in _NOT_OF_THE_MODEL
    }


@dataclass
class TrainingState:
    """
    How far a run has come.

    Args:
        epoch (`int`):
            Epochs done, with their validation.
        step (`int`):
            Optimiser steps done.
        steps_per_epoch (`int`):
            Optimiser steps of an epoch.
        num_processes (`int`):
            Processes of the run.
        best_epoch (`int`):
            The epoch whose model is kept, counted from 1; 0: none yet.
        best_metrics (`dict[str, float]`, *optional*):
            Its validation metrics.
        candidates (`list[tuple[int, float]]`):
            The epochs whose weights are kept to be averaged at the end, and the validation metric of each.
        averaged_epochs (`list[int]`):
            The epochs that were averaged to the best model, if it is such an average.
    """

    epoch: int = 0
    step: int = 0
    steps_per_epoch: int = 0
    num_processes: int = 1
    best_epoch: int = 0
    best_metrics: dict[str, float] | None = None
    candidates: list[tuple[int, float]] = field(default_factory=list)
    averaged_epochs: list[int] = field(default_factory=list)


def check_nothing_needed_is_removed(arguments: LoopArguments, groups: Iterable[Any]) -> None:
    """
    Args:
        arguments ([`LoopArguments`]): Where the run writes.
        groups (`Iterable`): Dataclasses of all its options.

    Raises:
        ValueError: Where an option names what `overwrite_output_dir` removes before it is read.
    """
    if not arguments.overwrite_output_dir or arguments.resume_from_checkpoint is not None:
        return
    removed = [path.resolve() for path in _folders_of_run(Path(arguments.output_dir)) if path.exists()]
    for group in groups:
        for option, value in vars(group).items():
            for path in value if isinstance(value, list) else [value]:
                if isinstance(path, str) and any(Path(path).resolve().is_relative_to(each) for each in removed):
                    raise ValueError(f"`{option}` {path!r} lies in what `overwrite_output_dir` removes: move it away.")


def prepare_output_dir(arguments: LoopArguments) -> None:
    """
    Makes the output folder; call it once, on the main process, before anything costly.

    What a killed run left half written is removed. A run that goes on from a checkpoint takes from it what belongs to
    the run as it was then: tokenizer, best model, candidates. Newer checkpoints that are not whole, and are passed
    over, are kept under another name.

    Raises:
        ValueError: If another run lies there, and it is neither to be overwritten nor resumed, or there is no such
            checkpoint, or it is not whole.
    """
    folder = Path(arguments.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    if arguments.resume_from_checkpoint is None:
        _make_room(arguments, folder)
        return
    checkpoint = find_checkpoint(arguments)
    if checkpoint.resolve().parent.samefile(folder):
        newer = [path for path in _checkpoints(folder) if _step(path) > _state(checkpoint).step]
        if newer and arguments.resume_from_checkpoint != LATEST:
            raise ValueError(
                f"{folder} holds checkpoints newer than `resume_from_checkpoint`: {[path.name for path in newer]}. "
                "Remove them, or go on in another `output_dir`."
            )
        clear_leftovers(folder)
        for path in newer:
            aside = path.with_name(f"{path.name}.damaged")
            remove_folder(aside)
            os.replace(path, aside)
        _remove_old(folder, arguments.save_total_limit)
    else:
        _make_room(arguments, folder)
    for name in RUN_FOLDERS:
        if (checkpoint / name).is_dir():
            replace_folder(folder / name, lambda partial, name=name: link_folder(checkpoint / name, partial))
        else:
            remove_folder(folder / name)


def _make_room(arguments: LoopArguments, folder: Path) -> None:
    """Removes another run, where it may."""
    if any(folder.iterdir()) and not arguments.overwrite_output_dir:
        raise ValueError(
            f"`output_dir` {folder} is not empty. Choose another, or `overwrite_output_dir`, or "
            "`resume_from_checkpoint` latest."
        )
    clear_leftovers(folder)
    for path in _folders_of_run(folder):
        remove_folder(path)
    (folder / LOG_FILE).unlink(missing_ok=True)


def find_checkpoint(arguments: LoopArguments) -> Path:
    """
    The checkpoint to resume from, which is whole. Of `"latest"`, newer ones that are not are passed over, and a
    warning names what is wrong with them.

    Raises:
        ValueError: If there is none, or the one that is named is not whole.
    """
    wanted = arguments.resume_from_checkpoint
    if wanted != LATEST:
        if not (Path(wanted) / STATE_FILE).is_file() and not (Path(wanted) / MANIFEST_FILE).is_file():
            raise ValueError(f"`resume_from_checkpoint` is {wanted!r}, which holds no checkpoint of this loop.")
        if faults := damage(Path(wanted)):
            raise ValueError(
                f"`resume_from_checkpoint` is {wanted!r}, which is not whole: {'; '.join(faults)}. Go on from "
                f"another, or from {LATEST!r}, the last whole one."
            )
        return Path(wanted)
    passed_over = []
    for checkpoint in reversed(_checkpoints(Path(arguments.output_dir))):
        faults = damage(checkpoint)
        if not faults:
            for name in passed_over:
                logger.warning("%s Going on from %s.", name, checkpoint.name)
            return checkpoint
        passed_over.append(f"{checkpoint.name} is not whole, and is passed over: {'; '.join(faults)}.")
    raise ValueError(
        f"`resume_from_checkpoint` is {LATEST!r}, but {arguments.output_dir} holds no "
        + (f"checkpoint that is whole. {' '.join(passed_over)}" if passed_over else "checkpoint.")
    )


class Checkpoints:
    """
    Saves and restores all that a run needs to go on as if nothing had happened.

    Weights, optimiser and random numbers are saved by Accelerate, which also knows sharded ones.

    Args:
        arguments ([`LoopArguments`]):
            Output folder, and how many checkpoints are kept.
        accelerator (`Accelerator`):
            Has prepared model and optimiser.
        scheduler (`LRScheduler`):
            Of the learning rate.
        batches ([`Batches`]):
            The training data.
        objective ([`Objective`]):
            May have a state of its own.
        average ([`RunningAverage`], *optional*):
            Of the weights.
        config (`PreTrainedConfig`, *optional*):
            The model's, which must be the same in the run that resumes.
    """

    def __init__(
        self,
        arguments: LoopArguments,
        accelerator: Accelerator,
        scheduler: torch.optim.lr_scheduler.LRScheduler,
        batches: Batches,
        objective: Objective,
        average: RunningAverage | None = None,
        config: PreTrainedConfig | None = None,
    ):
        self.folder = Path(arguments.output_dir)
        self.limit = arguments.save_total_limit
        self.accelerator = accelerator
        self.scheduler = scheduler
        self.batches = batches
        self.objective = objective
        self.average = average
        self.config = {} if config is None else _of_the_model(json.loads(config.to_json_string(use_diff=False)))
        # What the optimiser's state would bring along, whatever this run was told.
        optimizer = scheduler.optimizer
        self.optimizer = {
            "optimizer": type(optimizer).__name__,
            "learning_rate": scheduler.base_lrs,
            "weight_decay": [group["weight_decay"] for group in optimizer.param_groups],
        }
        self.latest: Path | None = None
        self.latest_step: int | None = None

    def save(self, state: TrainingState) -> Path:
        """
        Writes `checkpoint-{step}`, on every process, and removes what is too old.

        Raises:
            OSError: If it cannot be written; the earlier checkpoint is still there.
        """
        accelerator = self.accelerator
        target = self.folder / f"checkpoint-{state.step}"
        hint = f" Resume from {self.latest.name} when there is room." if self.latest is not None else ""
        if accelerator.is_main_process:
            begin_folder(target)
        accelerator.wait_for_everyone()
        partial = place_beside(target)
        with removed_on_error(partial, target, hint):
            accelerator.save_state(str(partial))
            own_state = self.objective.state_dict()
            if own_state:
                save_file(_detached(own_state), self._objective_file(partial))
            if self.average is not None and (self._is_sharded() or accelerator.is_main_process):
                save_file(self.average.state_dict(), self._average_file(partial))
            batches_state = self.batches.state_dict()
            if batches_state is not None:
                self._batches_file(partial).write_text(json.dumps(batches_state))
            accelerator.wait_for_everyone()
            if accelerator.is_main_process:
                for name in RUN_FOLDERS:
                    if (self.folder / name).is_dir():
                        link_folder(self.folder / name, partial / name)
                saved = {"state": asdict(state), "scheduler": self.scheduler.state_dict(), "config": self.config}
                saved["optimizer"] = self.optimizer
                (partial / STATE_FILE).write_text(json.dumps(saved, indent=1))
                write_manifest(partial)
                move_folder(partial, target)
        if accelerator.is_main_process:
            _remove_old(self.folder, self.limit, state.step)
        accelerator.wait_for_everyone()
        self.latest, self.latest_step = target, state.step
        return target

    def load(self, checkpoint: Path, fresh: TrainingState) -> TrainingState:
        """
        Restores a checkpoint.

        Args:
            checkpoint (`Path`):
                Its folder.
            fresh (`TrainingState`):
                The state of this run if it began anew.

        Returns:
            `TrainingState`: The state of the run that is resumed.

        Raises:
            ValueError: If it is one of a run with other data, processes, optimiser or averaging, or of another model.
        """
        saved = json.loads((checkpoint / STATE_FILE).read_text())
        state = _state(checkpoint)
        for name, what in (("num_processes", "processes"), ("steps_per_epoch", "steps an epoch")):
            if getattr(state, name) != getattr(fresh, name):
                raise ValueError(
                    f"{checkpoint} comes from a run with {getattr(state, name)} {what}, this one has "
                    f"{getattr(fresh, name)}: data, batch size, accumulation and processes must be the same."
                )
        config = saved.get("config", {})
        # Fields that only one of two versions knows do not matter.
        differing = sorted(name for name in config.keys() & self.config.keys() if config[name] != self.config[name])
        if differing:
            raise ValueError(
                f"{checkpoint} is one of another model: the configurations differ in {', '.join(differing)}. Give the "
                "options of that run, or begin a new one."
            )
        for name, value in saved.get("optimizer", {}).items():
            if value != self.optimizer[name]:
                raise ValueError(
                    f"{checkpoint} comes from a run whose `{name}` is {value}, this one's is {self.optimizer[name]}: "
                    "give the options of that run, or begin a new one."
                )
        if (self.average is not None) != self._average_file(checkpoint).is_file():
            raise ValueError(f"{checkpoint} and this run differ in `ema_decay`: only one of them averages weights.")
        self.accelerator.load_state(str(checkpoint))
        if self.average is not None:
            self.average.load_state_dict(load_file(self._average_file(checkpoint)))
        if self._objective_file(checkpoint).is_file():
            own_state = load_file(self._objective_file(checkpoint))
            device = self.accelerator.device
            self.objective.load_state_dict({name: value.to(device) for name, value in own_state.items()})
        batches_file = self._batches_file(checkpoint)
        self.batches.load_state_dict(json.loads(batches_file.read_text()) if batches_file.is_file() else None)
        self.scheduler.load_state_dict(saved["scheduler"])
        self.latest, self.latest_step = checkpoint, state.step
        return state

    def _is_sharded(self) -> bool:
        return self.accelerator.distributed_type == DistributedType.FSDP

    def _average_file(self, checkpoint: Path) -> Path:
        suffix = f"_{self.accelerator.process_index}" if self._is_sharded() else ""
        return checkpoint / f"averaged{suffix}.safetensors"

    def _objective_file(self, checkpoint: Path) -> Path:
        return checkpoint / f"objective_{self.accelerator.process_index}.safetensors"

    def _batches_file(self, checkpoint: Path) -> Path:
        return checkpoint / f"batches_{self.accelerator.process_index}.json"


def _checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, whole or not, oldest first."""
    return sorted((path for path in folder.glob("checkpoint-*") if path.name[11:].isdecimal()), key=_step)


def _folders_of_run(folder: Path) -> list[Path]:
    """What is removed for another run."""
    return [*_checkpoints(folder), *(folder / name for name in (*RUN_FOLDERS, TRACKING_FOLDER))]


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("checkpoint-"))


def _state(checkpoint: Path) -> TrainingState:
    return TrainingState(**json.loads((checkpoint / STATE_FILE).read_text())["state"])


def _remove_old(folder: Path, limit: int, newest: int | None = None) -> None:
    """Keeps so many checkpoints, counted back from the step `newest`: later ones are of another time."""
    present = [path for path in _checkpoints(folder) if newest is None or _step(path) <= newest]
    for checkpoint in present[:-limit]:
        remove_folder(checkpoint)


def _detached(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.detach().contiguous() for name, value in state.items()}
