"""Time and memory of a training step, greedy search and beam search against each size, and how fast they grow."""

import argparse
import dataclasses
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from hf_attention import (
    AttentionCaptionerConfig,
    AttentionCaptionerForConditionalGeneration,
    AttentionSeq2SeqConfig,
    AttentionSeq2SeqForConditionalGeneration,
    RecurrentLMConfig,
    RecurrentLMForCausalLM,
)
from hf_attention.extras import require_extra

from .peaks import added_peak, in_own_process
from .timing import Targets


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What is measured at, where nothing else is said: of the target, the memory, the batch and the model."""

    target: int = 20
    source: int = 20
    regions: int = 49
    beams: int = 4
    batch: int = 8
    vocabulary: int = 1000
    hidden: int = 128


class Axis(NamedTuple):
    """
    A size that is varied.

    Args:
        title (`str`): What it counts.
        values (`tuple[int, ...]`): Its sizes.
        allowed (`int`): The exponent that the mathematics has.
        models (`tuple[str, ...]`): Those that have such a size.
        modes (`tuple[str, ...]`): What it matters to.
    """

    title: str
    values: tuple[int, ...]
    allowed: int
    models: tuple[str, ...] = ("translator", "captioner", "language model")
    modes: tuple[str, ...] = ("training", "greedy", "beam")


AXES = {
    "target": Axis("target tokens", (10, 30, 100, 300, 1000), 1),
    "source": Axis("source tokens", (10, 30, 100, 300, 1000), 1, models=("translator",)),
    "regions": Axis("regions", (49, 100, 225, 484, 1024), 1, models=("captioner",)),
    "beams": Axis("beams", (2, 4, 8, 16, 32), 1, modes=("beam",)),
    "batch": Axis("sequences of a batch", (1, 4, 16, 64, 256), 1),
    "vocabulary": Axis("words of the vocabulary", (1000, 4000, 16000, 64000, 250000), 1),
    "hidden": Axis("hidden size", (64, 128, 256, 512, 1024), 2),
}
MEASURES = {"time": "ms", "memory": "MiB"}
# Of the least squares over three points, of which the first may yet be ruled by what does not grow.
SLACK = 0.15
# What is less is the allocator's: it says nothing of growth.
LEAST_MIB = 4.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    models, modes = AXES["target"].models, AXES["target"].modes
    parser.add_argument("--axes", choices=tuple(AXES), nargs="+", default=list(AXES), help="what is varied")
    parser.add_argument("--models", choices=models, nargs="+", default=list(models), help="whose cost")
    parser.add_argument("--modes", choices=modes, nargs="+", default=list(modes), help="of what")
    parser.add_argument("--picture", type=Path, help="where to draw all of it, as a PNG or SVG")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, which show that everything runs")


def make(model: str, sizes: Sizes) -> Callable[[str, int, int], object]:
    """
    A model with random weights.

    Args:
        model (`str`): Which.
        sizes ([`Sizes`]): Its sizes, and those of what it reads.

    Returns:
        `Callable`: what takes a mode, the target tokens and the sequences, and runs it.
    """
    common = {"hidden_size": sizes.hidden, "embedding_size": sizes.hidden, "vocab_size": sizes.vocabulary}
    if model == "language model":
        made = RecurrentLMForCausalLM(RecurrentLMConfig(**common))
    elif model == "translator":
        config = AttentionSeq2SeqConfig(**common, encoder_hidden_size=sizes.hidden // 2, attention_size=sizes.hidden)
        made = AttentionSeq2SeqForConditionalGeneration(config)
    else:
        config = AttentionCaptionerConfig(**common, region_size=sizes.hidden, attention_size=sizes.hidden)
        made = AttentionCaptionerForConditionalGeneration(config)
    made.generation_config.eos_token_id = made.config.eos_token_id

    def inputs(batch: int) -> dict[str, torch.Tensor]:
        if model == "captioner":
            return {"region_features": torch.randn(batch, sizes.regions, sizes.hidden)}
        length = sizes.source if model == "translator" else 1
        tokens = torch.randint(4, sizes.vocabulary, (batch, length))
        return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}

    def run(mode: str, target: int, batch: int) -> object:
        if mode != "training":
            beams = sizes.beams if mode == "beam" else 1
            length = {"min_new_tokens": target, "max_new_tokens": target}
            return made.eval().generate(**inputs(batch), num_beams=beams, do_sample=False, **length)
        labels = torch.randint(4, sizes.vocabulary, (batch, target))
        labels[:, -1] = made.config.eos_token_id
        read = {"input_ids": labels} if model == "language model" else inputs(batch)
        made.train()(**read, labels=labels).loss.backward()
        return made.zero_grad(set_to_none=False)

    return run


def measure(model: str, mode: str, sizes: Sizes, repeats: int) -> dict[str, float]:
    """Milliseconds of the processor, on one thread, and the MiB that a run adds, in a process of its own."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    run = make(model, sizes)
    run(mode, 2, 1)  # what is made once: gradients, tables, code
    times = []

    def timed() -> None:
        start = time.process_time()
        run(mode, sizes.target, sizes.batch)
        times.append(1000 * (time.process_time() - start))

    peak = added_peak(timed)
    for _ in range(repeats):
        timed()
    return {"time": statistics.median(times[1:]), "memory": peak}


def exponent(values: tuple[int, ...], costs: list[float]) -> float:
    """The slope of the logarithms over the upper half, by least squares."""
    upper = slice(len(values) // 2, None)
    x, y = ([math.log(number) for number in numbers] for numbers in (values[upper], costs[upper]))
    return statistics.linear_regression(x, y).slope


def draw(path: Path, costs: dict[tuple[str, str, str], dict[str, list[float]]], axes: dict[str, Axis]) -> None:
    """A panel a size and measure: a line a model and mode, and in grey what the mathematics allows."""
    from matplotlib.figure import Figure

    colours = {"training": "#440154", "greedy": "#21918c", "beam": "#e08214"}
    lines = {"translator": "-", "captioner": "--", "language model": ":"}
    figure = Figure(figsize=(2.3 * len(axes), 4.8), layout="constrained")
    panels = figure.subplots(len(MEASURES), len(axes), squeeze=False)
    for row, (measure_name, unit) in enumerate(MEASURES.items()):
        for panel, (name, axis) in zip(panels[row], axes.items(), strict=True):
            for (varied, model, mode), measured in costs.items():
                if varied == name:
                    panel.plot(axis.values, measured[measure_name], lines[model], color=colours[mode], lw=1.4)
            panel.set_xscale("log")
            panel.set_yscale("log")
            low, high = panel.get_ylim()
            middle = math.sqrt(low * high)
            first, last = axis.values[len(axis.values) // 2], axis.values[-1]
            panel.plot(
                (first, last),
                (middle, middle * (last / first) ** axis.allowed),
                color="#b0b0b0",
                lw=5,
                alpha=0.5,
                zorder=0,
            )
            panel.set_ylim(low, high)
            panel.tick_params(labelsize=7)
            panel.minorticks_off()
            panel.spines[["top", "right"]].set_visible(False)
            if row == len(MEASURES) - 1:
                panel.set_xlabel(axis.title, fontsize=8)
        panels[row][0].set_ylabel(f"{measure_name}, {unit}", fontsize=8)
    handles = [panels[0][0].plot([], [], color=colour, label=mode)[0] for mode, colour in colours.items()]
    handles += [panels[0][0].plot([], [], line, color="black", label=model)[0] for model, line in lines.items()]
    handles += panels[0][0].plot([], [], color="#b0b0b0", lw=5, alpha=0.5, label="what the mathematics allows")
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), fontsize=8, frameon=False)
    figure.savefig(path, dpi=110)


def run(args: argparse.Namespace) -> tuple[dict[str, float], Targets, str]:
    """The exponents of the sizes, at their upper half: 1 is linear."""
    if args.picture is not None:
        require_extra("visualization")
    sizes, axes = Sizes(), {name: AXES[name] for name in args.axes}
    if args.quick:
        sizes = Sizes(target=3, source=3, regions=4, beams=2, batch=2, vocabulary=30, hidden=8)
        axes = {name: axis._replace(values=(4, 8, 16, 32)) for name, axis in axes.items()}
    series = [
        (name, model, mode)
        for name, axis in axes.items()
        for model in axis.models
        for mode in axis.modes
        if model in args.models and mode in args.modes
    ]
    costs: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    exponents: dict[str, float] = {}
    for name, model, mode in series:
        axis = axes[name]
        points = [
            in_own_process(measure, model, mode, dataclasses.replace(sizes, **{name: value}), args.repeats)
            for value in axis.values
        ]
        costs[name, model, mode] = {kind: [point[kind] for point in points] for kind in MEASURES}
        for kind, measured in costs[name, model, mode].items():
            label = f"{axis.title}, {model}, {mode}: {kind}"
            spans = f"{label}: {measured[0]:.1f} to {measured[-1]:.1f} {MEASURES[kind]}"
            if kind == "memory" and max(measured) < LEAST_MIB:
                print(f"{spans}, too little to tell", flush=True)
                continue
            exponents[label] = exponent(axis.values, [max(cost, 1e-3) for cost in measured])
            more = ", MORE THAN ALLOWED" if exponents[label] > axis.allowed + SLACK else ""
            print(f"{spans}, exponent {exponents[label]:.2f}, {axis.allowed} allowed{more}", flush=True)
    if args.picture is not None:
        draw(args.picture, costs, axes)
    return exponents, {}, "exponent"
