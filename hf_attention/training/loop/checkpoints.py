"""A run's folder: its checkpoints and its best model, each written whole or not at all, and found again."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import PreTrainedConfig

from .arguments import LoopArguments
from .averaging import CANDIDATES_FOLDER, RunningAverage, keep_candidates
from .batches import Batches
from .objective import Objective
from .tracking import LOG_FILE, TRACKING_FOLDER


BEST_FOLDER = "best"
STATE_FILE = "training_state.json"
# Fields of a configuration that tell where it comes from.
_NOT_OF_THE_MODEL = ("_name_or_path", "auto_map", "architectures", "transformers_version")


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
            Epochs done.
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


def prepare_output_dir(arguments: LoopArguments) -> None:
    """
    Makes the output folder; call it once, on the main process, before anything costly.

    What a killed run left half written is removed. A run that goes on from another folder's checkpoint takes along
    that folder's best model.

    Raises:
        ValueError: If another run lies there, and it is neither to be overwritten nor resumed, or there is no such
            checkpoint.
    """
    folder = Path(arguments.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    source = folder
    if arguments.resume_from_checkpoint is not None:
        checkpoint = find_checkpoint(arguments)
        source = checkpoint.absolute().parent
        newer = [path.name for path in _checkpoints(source) if _step(path) > _step(checkpoint)]
        if source.samefile(folder) and newer:
            raise ValueError(
                f"{folder} holds checkpoints newer than `resume_from_checkpoint`: {newer}. Remove them, or go on in "
                "another `output_dir`."
            )
    if arguments.resume_from_checkpoint is not None and source.samefile(folder):
        _clear_leftovers(folder)
        _remove_old(folder, arguments.save_total_limit)
        return
    if any(folder.iterdir()) and not arguments.overwrite_output_dir:
        raise ValueError(
            f"`output_dir` {folder} is not empty. Choose another, or `overwrite_output_dir`, or "
            "`resume_from_checkpoint latest`."
        )
    _clear_leftovers(folder)
    for path in (*_checkpoints(folder), folder / BEST_FOLDER, folder / CANDIDATES_FOLDER, folder / TRACKING_FOLDER):
        _remove_folder(path)
    (folder / LOG_FILE).unlink(missing_ok=True)
    if source != folder:
        for name in (BEST_FOLDER, CANDIDATES_FOLDER):
            if (source / name).is_dir():
                replace_folder(folder / name, lambda partial, name=name: shutil.copytree(source / name, partial))


def find_checkpoint(arguments: LoopArguments) -> Path:
    """
    The checkpoint to resume from.

    Raises:
        ValueError: If there is none.
    """
    wanted = arguments.resume_from_checkpoint
    if wanted == "latest":
        checkpoints = _checkpoints(Path(arguments.output_dir))
        if not checkpoints:
            raise ValueError(f"`resume_from_checkpoint` is 'latest', but {arguments.output_dir} holds no checkpoint.")
        return checkpoints[-1]
    if not (Path(wanted) / STATE_FILE).is_file():
        raise ValueError(f"`resume_from_checkpoint` is {wanted!r}, which holds no checkpoint of this loop.")
    return Path(wanted)


def replace_folder(folder: Path, write: Callable[[Path], Any]) -> None:
    """
    Writes a folder beside its place and moves it there. Whenever it is killed, the old or the new one is whole.

    Args:
        folder (`Path`):
            The place.
        write (`Callable`):
            Makes the folder that it is given.

    Raises:
        OSError: If it cannot be written; the old one is still there.
    """
    partial = _beside(folder, "partial")
    shutil.rmtree(partial, ignore_errors=True)
    with _removed_on_error(partial):
        write(partial)
    _move(partial, folder)


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
        partial = _beside(target, "partial")
        if accelerator.is_main_process:
            shutil.rmtree(partial, ignore_errors=True)
        accelerator.wait_for_everyone()
        with _removed_on_error(partial, kept=self.latest):
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
                saved = {"state": asdict(state), "scheduler": self.scheduler.state_dict(), "config": self.config}
                (partial / STATE_FILE).write_text(json.dumps(saved, indent=1))
        if accelerator.is_main_process:
            _move(partial, target)
            _remove_old(self.folder, self.limit)
            keep_candidates(self.folder, [epoch for epoch, _ in state.candidates])
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
            ValueError: If it is one of a run with other data, processes or averaging, or of another model.
        """
        saved = json.loads((checkpoint / STATE_FILE).read_text())
        state = TrainingState(**saved["state"])
        for name, what in (("num_processes", "processes"), ("steps_per_epoch", "steps an epoch")):
            if getattr(state, name) != getattr(fresh, name):
                raise ValueError(
                    f"{checkpoint} comes from a run with {getattr(state, name)} {what}, this one has "
                    f"{getattr(fresh, name)}: data, batch size, accumulation and processes must be the same."
                )
        if state.step < state.epoch * state.steps_per_epoch:
            raise ValueError(f"{checkpoint} is one of a run that ended within an epoch, by `max_steps`.")
        config = saved.get("config", {})
        # Fields that only one of two versions knows do not matter.
        differing = sorted(name for name in config.keys() & self.config.keys() if config[name] != self.config[name])
        if differing:
            raise ValueError(
                f"{checkpoint} is one of another model: the configurations differ in {', '.join(differing)}. Give the "
                "options of that run, or begin a new one."
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
    """The checkpoints of a run, oldest first."""
    return sorted((path for path in folder.glob("checkpoint-*") if (path / STATE_FILE).is_file()), key=_step)


def _step(checkpoint: Path) -> int:
    return json.loads((checkpoint / STATE_FILE).read_text())["state"]["step"]


def _beside(folder: Path, ending: str) -> Path:
    return folder.with_name(f".{folder.name}.{ending}")


def _move(partial: Path, folder: Path) -> None:
    old = _beside(folder, "old")
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.replace(folder, old)
    os.replace(partial, folder)
    shutil.rmtree(old, ignore_errors=True)


def _remove_folder(folder: Path) -> None:
    """Removes a folder, of which there is never a half under its name."""
    if folder.exists():
        partial = _beside(folder, "partial")
        shutil.rmtree(partial, ignore_errors=True)
        os.replace(folder, partial)
        shutil.rmtree(partial)


def _remove_old(folder: Path, limit: int) -> None:
    for checkpoint in _checkpoints(folder)[:-limit]:
        _remove_folder(checkpoint)


def _clear_leftovers(folder: Path) -> None:
    for old in folder.glob(".*.old"):
        replaced = folder / old.name.removeprefix(".").removesuffix(".old")
        if replaced.exists():
            shutil.rmtree(old)
        else:  # killed between two moves
            os.replace(old, replaced)
    for partial in folder.glob(".*.partial"):
        shutil.rmtree(partial)


@contextmanager
def _removed_on_error(partial: Path, kept: Path | None = None) -> Iterator[None]:
    """Removes a folder that cannot be written, such as on a full disk."""
    try:
        yield
    except Exception as error:
        shutil.rmtree(partial, ignore_errors=True)
        # torch.save tells of a full disk by a RuntimeError of its own writer.
        if isinstance(error, OSError | SafetensorError) or "inline_container" in str(error):
            free = shutil.disk_usage(partial.parent).free / 2**20
            hint = f" Resume from {kept.name} when there is room." if kept is not None else ""
            raise OSError(
                f"{partial.name.removeprefix('.').removesuffix('.partial')} cannot be written to {partial.parent}, "
                f"where {free:.0f} MiB are free: {error}.{hint}"
            ) from error
        raise


def _detached(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.detach().contiguous() for name, value in state.items()}
