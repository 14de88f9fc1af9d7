"""A tiny run of the training loop: in a test's own process, or as a script in others."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import datasets
import torch
from accelerate import Accelerator
from accelerate.state import PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch import nn
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedModel, set_seed

from hf_attention import AttentionCaptionerConfig, AttentionCaptionerForConditionalGeneration
from hf_attention.training.data.arguments import StreamingArguments
from hf_attention.training.data.collators import CaptionCollator
from hf_attention.training.data.sampling import LengthBatchSampler
from hf_attention.training.data.streaming import streamed_dataloader
from hf_attention.training.loop.arguments import LoopArguments
from hf_attention.training.loop.checkpoints import prepare_output_dir
from hf_attention.training.loop.objective import Objective
from hf_attention.training.loop.train import TrainingResult, make_accelerator, train


@dataclass
class RunArguments:
    """How a run differs from the others."""

    batch_size: int = 4
    examples: int = 20
    shuffle: bool = False
    dropout: float = 0.0
    counting: bool = False  # by `CountingObjective`
    seconds_per_batch: float = 0.0  # that reading it takes
    fsdp: bool = False
    streamed: bool = False


class Examples(Dataset):
    """Images of random regions, with captions of 2 to 7 random words."""

    def __init__(self, arguments: RunArguments):
        generator = torch.Generator().manual_seed(5)
        self.seconds = arguments.seconds_per_batch / arguments.batch_size
        self.examples = []
        for _ in range(arguments.examples):
            length = int(torch.randint(2, 8, (1,), generator=generator))
            labels = [*torch.randint(4, 30, (length,), generator=generator).tolist(), 3]
            features = torch.randn(3, 6, generator=generator)
            self.examples.append({"region_features": features, "labels": [labels]})

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, row: int) -> dict[str, Any]:
        time.sleep(self.seconds)
        return self.examples[row]


class BatchesInOrder:
    """Batches of the rows in order, so that two of a size hold what one of twice the size holds."""

    def __init__(self, rows: int, size: int):
        self.batches = [list(range(rows))[start : start + size] for start in range(0, rows, size)]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)


class CountingObjective(Objective):
    """Weighs each batch by how many its process has seen: a run that is resumed must not begin to count anew."""

    def __init__(self):
        self.seen = torch.zeros(1)

    def __call__(self, model: nn.Module, batch: Mapping[str, Any], num_items: int) -> torch.Tensor:
        self.seen += 1
        return super().__call__(model, batch, num_items) * (1 + 0.1 * float(self.seen))

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"seen": self.seen}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        self.seen = state["seen"]


def tiny_model(dropout: float = 0.0) -> AttentionCaptionerForConditionalGeneration:
    set_seed(1)
    sizes = {"embedding_size": 8, "hidden_size": 12, "attention_size": 8, "memory_size": 8, "region_size": 6}
    names = ("embedding_dropout", "hidden_dropout", "readout_dropout", "memory_dropout")
    config = AttentionCaptionerConfig(vocab_size=30, **sizes, **dict.fromkeys(names, dropout))
    return AttentionCaptionerForConditionalGeneration(config)


def tiny_dataloader(run: RunArguments, num_workers: int = 0) -> DataLoader:
    examples = Examples(run)
    order = {"batch_sampler": BatchesInOrder(len(examples), run.batch_size)}
    if run.shuffle:
        order = {"shuffle": True, "batch_size": run.batch_size}
    return DataLoader(examples, collate_fn=CaptionCollator(), num_workers=num_workers, **order)


def tiny_stream(run: RunArguments, accelerator: Accelerator, num_workers: int = 0) -> DataLoader:
    """The examples as rows that are read as they come, seven at a time."""
    rows = datasets.Dataset.from_list([{"row": row} for row in range(run.examples)]).to_iterable_dataset()
    examples = Examples(run)

    def make_dataloader(rows: datasets.Dataset) -> DataLoader:
        buffer = [examples[row] for row in rows["row"]]
        sampler = LengthBatchSampler([len(example["labels"][0]) for example in buffer], run.batch_size)
        return DataLoader(buffer, batch_sampler=sampler, collate_fn=CaptionCollator())

    arguments = StreamingArguments(streaming=True, shuffle_buffer=7, steps_per_epoch=4)
    return streamed_dataloader(rows, make_dataloader, accelerator, arguments, seed=0, num_workers=num_workers)


def mean_loss(run: RunArguments) -> Callable[[PreTrainedModel], dict[str, float]]:
    """An evaluation: the loss of all examples, in one batch."""
    batch = CaptionCollator()(Examples(run).examples)

    @torch.no_grad()
    def evaluate(model: PreTrainedModel) -> dict[str, float]:
        assert not model.training
        return {"loss": float(model(**batch).loss)}

    return evaluate


def tiny_run(
    folder: object, run: RunArguments | None = None, objective: Objective | None = None, **options
) -> TrainingResult:
    """Trains in a folder, with `options` for [`LoopArguments`] or for [`~hf_attention.training.loop.train.train`]."""
    run = run or RunArguments()
    callbacks = {name: options.pop(name) for name in ("evaluate", "after_checkpoint") if name in options}
    callbacks = {"evaluate": mean_loss(run), **callbacks}
    defaults = {"num_train_epochs": 3, "learning_rate": 1e-2, "warmup_steps": 2, "logging_steps": 1}
    defaults |= {"metric_for_best_model": "loss", "greater_is_better": False}
    arguments = LoopArguments(output_dir=str(folder), **{**defaults, **options})
    accelerator = make_accelerator(arguments)
    if run.fsdp:
        # Accelerate shards on accelerators only, though PyTorch would on CPUs too.
        PartialState._shared_state["distributed_type"] = accelerator.state.distributed_type = DistributedType.FSDP
        accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin(
            fsdp_version=2, auto_wrap_policy="no_wrap", state_dict_type="SHARDED_STATE_DICT"
        )
    if accelerator.is_main_process:
        prepare_output_dir(arguments)
    accelerator.wait_for_everyone()
    if run.counting:
        objective = CountingObjective()
    if run.streamed:
        dataloader = tiny_stream(run, accelerator, arguments.dataloader_num_workers)
    else:
        dataloader = tiny_dataloader(run, arguments.dataloader_num_workers)
    return train(tiny_model(run.dropout), arguments, dataloader, accelerator, objective=objective, **callbacks)


def main() -> None:
    """Runs one after the other: a JSON list of [folder, {fields of RunArguments}, {options}]."""
    for folder, run, options in json.loads(sys.argv[1]):
        tiny_run(folder, RunArguments(**run), **options)


if __name__ == "__main__":
    main()
