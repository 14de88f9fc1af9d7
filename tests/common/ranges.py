"""Numbers to hold ranges against."""

import math
from typing import get_args

from hf_attention.models.ranges import Range


NUMBERS = (-math.inf, -(10**12), -2, -1.0, -0.5, 0, 1e-9, 0.5, 1, 1.5, 2, 33, 10**5, 2**32, 10**12, math.inf, math.nan)


def is_number(kind: object) -> bool:
    """Whether a field of this type holds a number."""
    return bool({int, float} & {kind, *get_args(kind)})


def outside(allowed: Range) -> list[float]:
    """Numbers beyond each of the bounds, the nearest among them."""
    below = [allowed.low - 1, *([allowed.low] if allowed.brackets[0] == "(" else [])]
    above = [allowed.high + 1, *([allowed.high] if allowed.brackets[1] == ")" else [])]
    return [value for value in (*below, *above, math.inf, -math.inf, math.nan) if value not in allowed]
