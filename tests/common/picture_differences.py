"""
Where the pipelines that look at pictures answer otherwise than those of transformers 4.57, and why. The table of
`docs/dropped_tasks.md` says the same to people.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from common.tiny_image_to_text_models import UNPROMPTED


class Difference(NamedTuple):
    """
    Args:
        calls: What is asked.
        families: Of whom.
        why: What 4.57 did, and what is better.
        is_answered: Whether it is answered now.
    """

    calls: tuple[str, ...]
    families: tuple[str, ...]
    why: str
    is_answered: bool = True


ONE = ("vision-encoder-decoder",)  # what goes in is asked of it alone
QUERYING = ("blip-2", "blip-2 with t5")
# With a processor that transformers 5 loads; without the image's tokens 4.57 failed, or answered blindly.
REFUSING = ("llava", "llava_next", "vipllava", "paligemma", "chameleon")
BLIND = ("idefics2", "idefics3")
QWEN = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe")
PROMPTS = ("prompt", "prompt, batch of 2", "prompt with an image")

IMAGE_TO_TEXT = [
    Difference(("2 sequences, batch of 2",), UNPROMPTED, "4.57 gave the second picture a sequence of the first"),
    Difference(("max_length",), UNPROMPTED, "4.57 let its own 256 new tokens win over the call's `max_length`"),
    Difference(("tuple", "pathlib", "series", "array of paths"), ONE, "4.57 took only lists and strings"),
    Difference(("images=",), ONE, "4.57 missed `inputs` before it looked for their older name"),
    Difference(("prompt", "prompt, batch of 2", "prompt without a processor"), QUERYING, "4.57 never saw the picture"),
    Difference(PROMPTS, REFUSING, "4.57 failed: it put no tokens of the image into the text"),
    Difference(PROMPTS, BLIND, "4.57 never saw the picture"),
    Difference(
        ("prompt without a processor",),
        BLIND,
        "transformers 5 refuses a picture without tokens in the text",
        is_answered=False,
    ),
    Difference(("prompt, beams",), QWEN, "4.57 failed: it repeated the patches of a picture as if they were pictures"),
    Difference(("prompt, beams",), ("idefics3",), "4.57 took each patch for the one above and left of it"),
]
VISUAL_QUESTION_ANSWERING = [
    Difference(("words alone", "words alone, batch of 2", "empty question"), QUERYING, "4.57 never saw the picture"),
    Difference(("batch of 2",), ("blip-2",), "4.57 padded a shorter question at the end, where the answer begins"),
    Difference(("max_new_tokens", "generate_kwargs"), ("blip", *QUERYING), "4.57 took and ignored them in a call"),
    Difference(("truncation",), ("vilt", "blip"), "4.57 failed where the tokenizer names no limit"),
    Difference(("one question, batch of 2", "batch of all"), ("vilt",), "4.57 batched pictures of one size only"),
    Difference(("bfloat16",), ("vilt",), "4.57 rounded the scores to half precision"),
    Difference(
        ("tuple", "tuple of questions", "pathlib", "series", "array of paths"),
        ("vilt",),
        "4.57 took only lists and strings",
    ),
]


def is_explained(family: str, call: str, answer: Any, differences: Iterable[Difference]) -> bool:
    """Whether a family may answer a call otherwise, or refuse it, as it does."""
    is_answered = not (isinstance(answer, dict) and "raises" in answer)
    return any(
        call in each.calls and family in each.families and each.is_answered == is_answered for each in differences
    )
