"""What the tests of the evaluation of attention share."""

import torch

from hf_attention.seeing.evaluation.arguments import EvaluationArguments
from hf_attention.seeing.evaluation.pointing import Look


# A grid of 4x4 over a picture of 32x32.
GRID = torch.tensor([[8.0 * c, 8.0 * r, 8.0 * c + 8, 8.0 * r + 8] for r in range(4) for c in range(4)])


def make_arguments(**options: object) -> EvaluationArguments:
    return EvaluationArguments(
        model=[], **{"samples": 4, "image_size": 32, "eval_batch_size": 3, "resamples": 100} | options
    )


def look(weights: torch.Tensor, box: tuple[int, int, int, int], picture: int = 0) -> Look:
    return Look(picture, weights, GRID, [box], "noun", None)


def peaked(*cells: int) -> torch.Tensor:
    weights = torch.zeros(16)
    weights[list(cells)] = 1 / len(cells)
    return weights
