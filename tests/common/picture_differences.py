"""
Where the pipelines that look at pictures answer otherwise than those of transformers 4.57, and why. The table of
`docs/dropped_tasks.md` says the same to people.
"""

from collections.abc import Iterable
from typing import NamedTuple

from common.tiny_image_to_text_models import MODELS, UNPROMPTED
from common.tiny_vqa_models import MODELS as VQA_MODELS


class Difference(NamedTuple):
    """
    Args:
        calls: What is asked.
        families: Of whom.
        why: What 4.57 did, and what is better.
    """

    calls: tuple[str, ...]
    families: tuple[str, ...]
    why: str


# Which have a processor that both versions of transformers load.
PLACING = ("llava", "llava_next", "vipllava", "chameleon", "idefics2", "idefics3")
BLIND = ("idefics2", "idefics3")
ONE = ("vision-encoder-decoder",)

IMAGE_TO_TEXT = [
    Difference(
        ("2 sequences, batch of 2",),
        UNPROMPTED,
        "4.57 gave each picture one sequence of a batch, those of the first to the second",
    ),
    Difference(("max_length", "max_length at construction"), UNPROMPTED, "4.57 let its own 256 new tokens win"),
    Difference(("tuple", "pathlib", "series", "array of paths"), ONE, "4.57 took lists of strings only"),
    Difference(("images=",), ONE, "4.57 asked for `inputs` before it looked for the older name"),
]
VISUAL_QUESTION_ANSWERING: list[Difference] = []


def different(differences: Iterable[Difference], family: str) -> set[str]:
    """The calls that a family may answer otherwise."""
    return {call for each in differences if family in each.families for call in each.calls}
