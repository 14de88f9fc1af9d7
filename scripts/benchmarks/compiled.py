"""Steps of generation and of training as they are and compiled, at several batches: sentences and tokens a second."""

import argparse
import copy
from functools import partial

import torch
from torch import nn
from transformers import CompileConfig

from hf_attention.training.loop.arguments import LoopArguments
from hf_attention.training.loop.train import create_optimizer

from .peer_translators import PAD, Ours, Pairs, Sizes
from .peers import BUCKET, Case, draw_lengths, make_batches, make_pairs
from .timing import Targets, medians


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where")
    parser.add_argument("--backend", default="inductor", help="by what is compiled; aot_eager needs no compiler")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32, 64], help="sentences translated at once")
    parser.add_argument("--beams", type=int, default=5, help="beams, beside greedy search")
    parser.add_argument("--tokens", type=int, default=20, help="tokens of a translation")
    parser.add_argument("--batch_size", type=int, default=80, help="pairs of a batch in training")
    parser.add_argument("--train_batches", type=int, default=4, help="batches of a timed run of training")
    parser.add_argument("--quick", action="store_true", help="tiny models, which show that everything runs")
    parser.set_defaults(dataset_name=None)


def compiling(translator: Ours, args: argparse.Namespace) -> Ours:
    """A copy of a translator whose steps of generation are compiled."""
    translator = copy.deepcopy(translator)
    mode = "reduce-overhead" if args.backend == "inductor" and args.device == "cuda" else None
    config = CompileConfig(backend=args.backend, mode=mode, dynamic=False)
    config._compile_all_devices = True  # on a processor it is a rehearsal
    translator.model.generation_config.cache_implementation = "static"
    translator.model.generation_config.compile_config = config
    return translator


def train(model: nn.Module, optimizer: torch.optim.Optimizer, batches: list[Pairs], device: str) -> None:
    """Steps on some batches in mixed precision, as the recipe has them."""
    for pairs in batches:
        labels = pairs.target[:, 1:].masked_fill(pairs.target[:, 1:] == PAD, -100)
        with torch.autocast(device, torch.bfloat16):
            loss = model(input_ids=pairs.source, attention_mask=(pairs.source != PAD).long(), labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def run(args: argparse.Namespace) -> tuple[dict[str, float], Targets, str]:
    """Sentences and target tokens a second."""
    if args.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("--device cuda: PyTorch finds no GPU here.")
    sizes = Sizes(vocabulary=60, embedding=8, encoder=6, decoder=12) if args.quick else Sizes()
    plain = Ours(sizes)
    plain.model.to(args.device).eval()
    translators = {"as it is": plain, "compiled": compiling(plain, args)}
    cases: dict[str, Case] = {}
    for batch in args.batches:
        pairs = make_pairs(draw_lengths(args, batch), sizes.vocabulary, args.device)
        for search, num_beams in {"greedy": 1, f"beam {args.beams}": args.beams}.items():
            written = {name: each.write(pairs, num_beams, args.tokens) for name, each in translators.items()}
            equal = (written["as it is"] == written["compiled"]).all(1).float().mean()
            print(f"{search}, batch {batch}: {equal:.0%} of the sentences are equal")
            for name, each in translators.items():
                write = partial(each.write, pairs, num_beams, args.tokens)
                cases[f"{search}, batch {batch}, sentences: {name}"] = Case(write, batch)

    batches = make_batches(draw_lengths(args, BUCKET * args.batch_size), BUCKET, args, sizes.vocabulary)
    num_tokens = sum(int((pairs.target[:, 1:] != PAD).sum()) for pairs in batches)
    for name in translators:
        model = Ours(sizes).model.to(args.device).train()
        optimizer = create_optimizer(model, LoopArguments(output_dir="", learning_rate=1e-4))
        called = torch.compile(model, backend=args.backend) if name == "compiled" else model
        cases[f"training, target tokens: {name}"] = Case(
            partial(train, called, optimizer, batches, args.device), num_tokens
        )

    times = medians({name: case.run for name, case in cases.items()}, args.repeats)
    rates = {name: 1000 * cases[name].amount / milliseconds for name, milliseconds in times.items()}
    targets = {
        f"{name} / {name.replace('compiled', 'as it is')}": (None, None) for name in rates if "compiled" in name
    }
    return rates, targets, "a second"
