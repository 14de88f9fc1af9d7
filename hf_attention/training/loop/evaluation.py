"""Validation by generated texts: batches shared out over processes, and the choice of beams and length penalty."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from accelerate import Accelerator
from accelerate.utils import gather_object
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from ...arguments import SumOf, summands


def texts_of_rows(
    rows: Sequence[int],
    texts_of_batch: Callable[[list[int]], list[str]],
    accelerator: Accelerator,
    batch_size: int,
    description: str,
) -> list[str]:
    """
    The text of each row, batch by batch, each process a share.

    Args:
        rows (`Sequence[int]`):
            All the numbers from zero on, in the order in which to take them.
        texts_of_batch (`Callable`):
            Takes the numbers of a batch and returns as many texts.
        accelerator (`Accelerator`):
            The processes.
        batch_size (`int`):
            Rows at a time.
        description (`str`):
            What the progress bar says.

    Returns:
        `list[str]`: By number, on every process.
    """
    texts = []
    with accelerator.split_between_processes(list(rows)) as share:
        starts = range(0, len(share), batch_size)
        for start in tqdm(starts, desc=description, leave=False, disable=not accelerator.is_local_main_process):
            batch = share[start : start + batch_size]
            texts += zip(batch, texts_of_batch(batch), strict=True)
    return [text for _, text in sorted(gather_object(texts))]


def beam_settings(num_beams: int, length_penalty: float) -> dict[str, Any]:
    """
    Arguments of `generate()`. A length penalty only weighs beams against each other: of a single one it is 1, and
    transformers saves no other.

    Args:
        num_beams (`int`): Number of beams.
        length_penalty (`float`): Exponent of the length.
    """
    return {"num_beams": num_beams, "length_penalty": length_penalty if num_beams > 1 else 1.0}


def tune_generation(
    model: PreTrainedModel,
    evaluator: Callable[..., dict[str, float]],
    metric: str = "cider",
    num_beams: Iterable[int] = (3, 5),
    length_penalties: Iterable[float] = (0.5, 0.7, 1.0, 1.3),
    greater_is_better: bool = True,
) -> tuple[dict[str, Any], dict[str, float]]:
    """
    Chooses beams and length penalty by a grid over a validation split.

    Args:
        model (`PreTrainedModel`):
            In evaluation mode.
        evaluator (`Callable`):
            Takes the model and arguments of `generate()`, returns scores on the validation split.
        metric (`str`, *optional*, defaults to `"cider"`):
            The metric to choose by, or the sum of several, such as `"cider+bleu_4"`.
        num_beams (`Iterable[int]`, *optional*):
            Numbers of beams.
        length_penalties (`Iterable[float]`, *optional*):
            Exponents of the length.
        greater_is_better (`bool`, *optional*, defaults to `True`):
            Whether more of the metric is better.

    Returns:
        `tuple[dict, dict]`: The best arguments of `generate()`, and their scores.

    Raises:
        ValueError: If the evaluator gives no such metric.
    """
    grid = []
    for settings in itertools.starmap(beam_settings, itertools.product(num_beams, length_penalties)):
        if settings not in grid:
            grid.append(settings)
    scored = [(settings, evaluator(model, **settings)) for settings in grid]
    SumOf([*scored[0][1]]).check("metric", metric)
    best = max if greater_is_better else min
    return best(scored, key=lambda pair: sum(pair[1][name] for name in summands(metric)))
