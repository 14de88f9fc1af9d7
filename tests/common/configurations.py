"""The configurations of the decoder that the suite goes over."""

import itertools
from collections.abc import Iterator


AXES = {
    "rnn_type": ("lstm", "gru"),
    "attention_type": ("additive", "dot", "general", "scaled_dot", None),
    "attention_order": ("before_rnn", "after_rnn"),
    "input_feeding": (False, True),
    "num_hidden_layers": (1, 2),
    "num_attention_heads": (1, 2),
    "coverage": (False, True),
    "context_gate": (False, True),
    "readout_activation": ("tanh", "maxout", None),
    "readout_embedding": (False, True),
    "initial_state": ("memory_mean", "zeros"),
    "tie_word_embeddings": (False, True),
}
CORE_AXES = ("rnn_type", "attention_type", "attention_order", "input_feeding", "num_hidden_layers")


def is_valid(settings: dict) -> bool:
    """Whether the settings mean anything together."""
    attention, before = settings["attention_type"], settings["attention_order"] == "before_rnn"
    if attention is None and settings["initial_state"] == "zeros":
        return False
    return not (
        (settings["input_feeding"] and (before or attention is None))
        or (settings["context_gate"] and (not before or attention is None))
        or (settings["coverage"] and attention != "additive")
        or (settings["num_attention_heads"] > 1 and attention != "scaled_dot")
    )


def combinations(names: tuple[str, ...] = tuple(AXES), **fixed) -> Iterator[dict]:
    """Every combination of the named axes."""
    for values in itertools.product(*(AXES[name] for name in names)):
        yield {**fixed, **dict(zip(names, values, strict=True))}


def every_configuration() -> list[dict]:
    """All valid combinations of all axes."""
    return [settings for settings in combinations() if is_valid(settings)]


def pairs_of(settings: dict) -> set[tuple]:
    """The pairs of values that a configuration covers."""
    return set(itertools.combinations(settings.items(), 2))


def pairwise() -> list[dict]:
    """
    A small selection of configurations in which every valid pair of values occurs: each is the one that adds the most
    new pairs to those before it.
    """
    candidates = [(settings, pairs_of(settings)) for settings in every_configuration()]
    missing, chosen = set().union(*(pairs for _, pairs in candidates)), []
    while missing:
        settings, pairs = max(candidates, key=lambda candidate: len(candidate[1] & missing))
        missing -= pairs
        chosen.append(settings)
    return chosen


def core() -> list[dict]:
    """All valid combinations of the core axes; the values of the other axes take turns."""
    chosen = []
    for number, settings in enumerate(combinations(CORE_AXES)):
        others = [
            other
            for other in combinations(tuple(name for name in AXES if name not in CORE_AXES), **settings)
            if is_valid(other)
        ]
        if others:
            chosen.append(others[number * 7 % len(others)])
    return chosen


def name_of(settings: dict) -> str:
    """A readable name: the values that differ from the axes' first."""
    return "-".join(
        name if value is True else f"{name.removesuffix('_type')}={value}"
        for name, value in settings.items()
        if name == "attention_type" or value != AXES[name][0]
    )
