"""Times of functions run in turn, and the ratios that matter."""

import statistics
import time
from collections.abc import Callable

import torch
from tqdm import tqdm


# "numerator / denominator": (the least, the most that the ratio of their values should be)
Targets = dict[str, tuple[float | None, float | None]]


def medians(
    functions: dict[str, Callable[[], object]], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """
    Runs the functions in turn, once to warm up and `repeats` times more; their median times in milliseconds, until a
    GPU has done what they leave it to do.
    """
    times = {name: [] for name in functions}
    for repeat in tqdm(range(repeats + 1), leave=False):
        for name, function in functions.items():
            start = clock()
            function()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if repeat > 0:
                times[name].append(1000 * (clock() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def report(values: dict[str, float], targets: Targets, unit: str = "ms") -> dict[str, dict[str, float]]:
    """Prints what was measured and the ratios; returns both."""
    ratios = {}
    width = max(map(len, (*values, *targets)))
    for name, value in values.items():
        print(f"{name:<{width}}  {value:9.2f} {unit}")
    for name, (at_least, at_most) in targets.items():
        numerator, denominator = name.split(" / ")
        ratios[name] = values[numerator] / values[denominator]
        bounds = [f"at least {at_least}"] if at_least is not None else []
        bounds += [f"at most {at_most}"] if at_most is not None else []
        print(f"{name:<{width}}  {ratios[name]:9.2f}  {', '.join(bounds)}".rstrip())
    return {"milliseconds" if unit == "ms" else unit: values, "ratios": ratios}
