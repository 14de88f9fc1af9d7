"""What is asked of the `image-to-text` pipelines."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import torch
from transformers import GenerationConfig, pipeline
from transformers.pipelines.pt_utils import KeyDataset

from common.picture_bench import Bench, Call
from common.tiny_image_to_text_models import MODELS, UNPROMPTED


SHORT = {"max_new_tokens": 5}
WORDS = "a red circle"
SQUARE = -1  # the picture that is as high as wide
EARLY_END = list(range(3, 30))


def generating(**generate_kwargs: Any) -> dict[str, Any]:
    """Arguments of a call."""
    return {"generate_kwargs": {**SHORT, **generate_kwargs}}


def stop_after(tokens: int) -> dict[str, Any]:
    """Arguments of generate() that end it after so many steps, and set no limit."""
    steps = iter(range(1, 10_000))
    return {"stopping_criteria": [lambda ids, scores: torch.full((len(ids),), next(steps) >= tokens)]}


def written_out(on: Bench) -> str:
    """A prompt with as many tokens for the picture as the model puts there."""
    return "<image>" * MODELS[on.name].image_length + WORDS


def encoded(path: str) -> str:
    return base64.b64encode(Path(path).read_bytes()).decode()


# Of every family.
WHAT_IT_WRITES: dict[str, Call] = {
    "one": lambda on: on.pipe(on.picture, **SHORT),
    "list": lambda on: on.pipe(on.pictures, **SHORT),
    "prompt": lambda on: on.pipe(on.picture, prompt=WORDS, **SHORT),
    "prompt, batch of 2": lambda on: on.pipe(on.pictures[:3], prompt=WORDS, batch_size=2, **SHORT),
    "prompt without a processor": lambda on: on.make()(on.picture, prompt=WORDS, **SHORT),
    "prompt with an image": lambda on: on.pipe(on.pictures[SQUARE], prompt="<image>" + WORDS, **SHORT),
    "prompt with the image's tokens": lambda on: on.pipe(on.pictures[SQUARE], prompt=written_out(on), **SHORT),
    "the same without a processor": lambda on: on.make()(on.pictures[SQUARE], prompt=written_out(on), **SHORT),
    "prompt, beams": lambda on: on.pipe(on.pictures[SQUARE], prompt=written_out(on), **generating(num_beams=2)),
}
# Of those that write without a prompt.
HOW_IT_GENERATES: dict[str, Call] = {
    "nothing said": lambda on: on.pipe(on.picture, generate_kwargs=stop_after(24)),
    "batch of 2": lambda on: on.pipe(on.pictures, batch_size=2, **SHORT),
    "batch of all": lambda on: on.pipe(on.pictures, batch_size=8, **SHORT),
    "no token twice": lambda on: on.pipe(on.pictures[1], **generating(no_repeat_ngram_size=1)),
    "beams": lambda on: on.pipe(on.picture, **generating(num_beams=3)),
    "2 sequences": lambda on: on.pipe(on.picture, **generating(num_beams=3, num_return_sequences=2)),
    "2 sequences, batch of 2": lambda on: on.pipe(
        on.pictures[:2], batch_size=2, **generating(num_beams=3, num_return_sequences=2)
    ),
    "2 sequences without beams": lambda on: on.pipe(on.picture, **generating(num_return_sequences=2)),
    "max_new_tokens in generate_kwargs": lambda on: on.pipe(on.picture, generate_kwargs={"max_new_tokens": 3}),
    "max_new_tokens twice": lambda on: on.pipe(on.picture, max_new_tokens=3, **generating()),
    "max_new_tokens at construction": lambda on: on.make(max_new_tokens=3)(on.picture),
    "max_length": lambda on: on.pipe(on.picture, generate_kwargs={"max_length": 9, **stop_after(20)}),
    "max_length at construction": lambda on: on.make(max_length=9)(on.picture, generate_kwargs=stop_after(20)),
    "min_length": lambda on: on.pipe(on.picture, **generating(min_length=5, eos_token_id=EARLY_END)),
    "min_new_tokens": lambda on: on.pipe(on.picture, **generating(min_new_tokens=3, eos_token_id=EARLY_END)),
    "beams at construction": lambda on: on.make(num_beams=3, length_penalty=-1.0)(on.picture, **SHORT),
    "generate_kwargs at construction": lambda on: on.make(**generating(num_beams=2))(on.picture),
    "generation_config": lambda on: on.pipe(
        on.picture, generate_kwargs={"generation_config": GenerationConfig(max_new_tokens=4, num_beams=2)}
    ),
    "max_length of the checkpoint": lambda on: on.wishing(max_length=9)(on.picture, generate_kwargs=stop_after(20)),
    "its max_length, and max_new_tokens": lambda on: on.wishing(max_length=9)(on.picture, max_new_tokens=11),
    "beams of the checkpoint": lambda on: on.wishing(num_beams=3, length_penalty=-1.0)(on.picture, **SHORT),
    "penalty of the checkpoint": lambda on: on.wishing(repetition_penalty=3.0)(on.picture, **SHORT),
    "its penalty, and the call's": lambda on: on.wishing(repetition_penalty=3.0)(
        on.picture, **generating(repetition_penalty=1.0)
    ),
    "no pad token": lambda on: on.wishing(pad_token_id=None)(on.pictures[:2], batch_size=2, **SHORT),
    "no pad token at all": lambda on: on.without_pad_token()(on.picture, **SHORT),
    "bfloat16": lambda on: on.load(dtype=torch.bfloat16)(on.picture, **SHORT),
    "saved and loaded": lambda on: on.saved_and_loaded()(on.picture, **SHORT),
}
# Of one: what the pipeline does itself.
WHAT_GOES_IN: dict[str, Call] = {
    "generator": lambda on: on.pipe((picture for picture in on.pictures[:2]), **SHORT),
    "generator, batch of 2": lambda on: on.pipe((picture for picture in on.pictures[:3]), batch_size=2, **SHORT),
    "KeyDataset": lambda on: on.pipe(KeyDataset([{"image": path} for path in on.paths], "image"), **SHORT),
    "batch_size at construction": lambda on: on.make(batch_size=2)(on.pictures[:3], **SHORT),
    "path": lambda on: on.pipe(on.paths[0], **SHORT),
    "paths": lambda on: on.pipe(on.paths, batch_size=5, **SHORT),
    "paths and pictures": lambda on: on.pipe([on.paths[0], on.pictures[1]], **SHORT),
    "base64": lambda on: on.pipe(encoded(on.paths[0]), **SHORT),
    "data address": lambda on: on.pipe("data:image/png;base64," + encoded(on.paths[0]), **SHORT),
    "series": lambda on: on.pipe(pandas.Series(on.paths[:2]), **SHORT),
    "array of paths": lambda on: on.pipe(np.array(on.paths[:2]), **SHORT),
    "tuple": lambda on: on.pipe(tuple(on.paths[:2]), **SHORT),
    "pathlib": lambda on: on.pipe(Path(on.paths[0]), **SHORT),
    "grey": lambda on: on.pipe(on.picture.convert("L"), **SHORT),
    "transparent": lambda on: on.pipe(on.picture.convert("RGBA"), **SHORT),
    "images=": lambda on: on.pipe(images=on.picture, **SHORT),
    "inputs=": lambda on: on.pipe(inputs=on.picture, **SHORT),
    "timeout": lambda on: on.pipe(on.picture, timeout=9.0, **SHORT),
    "empty": lambda on: on.pipe([], **SHORT),
    "None": lambda on: on.pipe(None, **SHORT),
    "None in a list": lambda on: on.pipe([on.picture, None], **SHORT),
    "number": lambda on: on.pipe(5, **SHORT),
    "array": lambda on: on.pipe(np.asarray(on.picture), **SHORT),
    "no such file": lambda on: on.pipe("missing.png", **SHORT),
    "unknown argument": lambda on: on.pipe(on.picture, colour="red", **SHORT),
    "unknown argument at construction": lambda on: on.make(colour="red")(on.picture, **SHORT),
    "unknown in generate_kwargs": lambda on: on.pipe(on.picture, **generating(colour="red")),
    "prompt of another type": lambda on: on.pipe(on.picture, prompt=[WORDS], **SHORT),
    "device": lambda on: on.make(device=torch.device("cpu"))(on.picture, **SHORT),
    "device -1": lambda on: on.make(device=-1)(on.picture, **SHORT),
    "torch_dtype": lambda on: on.load(torch_dtype=torch.float64)(on.picture, **SHORT),
    "objects": lambda on: on.make()(on.picture, **SHORT),
    "no image processor": lambda on: on.make(image_processor=None)(on.picture, **SHORT),
    "no task": lambda on: pipeline(model=str(on.folder), device="cpu")(on.picture, **SHORT),
}


def asked(name: str, style: str) -> dict[str, Call]:
    """What is asked of a family in a style of folder."""
    calls = dict(WHAT_IT_WRITES)
    if name in UNPROMPTED:
        calls |= HOW_IT_GENERATES
    if (name, style) == ("vision-encoder-decoder", "new"):
        calls |= WHAT_GOES_IN
    return calls
