"""What a training step adds to the memory of its process, beside a step that keeps the logits of every position."""

import argparse

import torch
from torch.nn import functional as F

from hf_attention.models.modeling_attention_captioner import AttentionCaptionerForConditionalGeneration
from hf_attention.training.loop.arguments import LoopArguments
from hf_attention.training.loop.train import create_optimizer

from .peaks import added_peak, in_own_process
from .random_captioner import add_size_arguments, make_captioner
from .timing import Targets


STEP, ALL_LOGITS = "a step", "a step that keeps all logits"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_size_arguments(parser)
    parser.set_defaults(vocabulary=32000)
    parser.add_argument("--batch", type=int, default=64, help="sequences")
    parser.add_argument("--target", type=int, default=24, help="target positions")
    parser.add_argument("--positions", type=int, default=24, help="memory positions")


def all_logits_loss(
    model: AttentionCaptionerForConditionalGeneration, features: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same loss from the logits of every position, and these logits: the output of a model holds both."""
    inputs = model.prepare_decoder_input_ids_from_labels(labels)
    logits = model.lm_head(model.model(region_features=features, decoder_input_ids=inputs).last_hidden_state)
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten()), logits


def added_memory(way: str, args: argparse.Namespace) -> float:
    """The peak of this process in a step, in MiB above what it held before: weights, gradients and AdamW's state."""
    torch.manual_seed(0)
    model = make_captioner(args).train()
    optimizer = create_optimizer(model, LoopArguments(output_dir=""))

    def step(batch: int, target: int) -> None:
        features = torch.randn(batch, args.positions, args.memory)
        labels = torch.randint(4, args.vocabulary, (batch, target))
        if way == STEP:
            outputs = (model(region_features=features, labels=labels).loss,)
        else:
            outputs = all_logits_loss(model, features, labels)
        outputs[0].backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)

    step(1, 2)
    return added_peak(lambda: step(args.batch, args.target))


def run(args: argparse.Namespace) -> tuple[dict[str, float], Targets, str]:
    """MiB, each measured in a process of its own."""
    settings = argparse.Namespace(**{name: value for name, value in vars(args).items() if isinstance(value, int)})
    added = {way: in_own_process(added_memory, way, settings) for way in (STEP, ALL_LOGITS)}
    return added, {f"{STEP} / {ALL_LOGITS}": (None, 0.5)}, "MiB"
