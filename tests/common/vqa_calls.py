"""What is asked of the `visual-question-answering` pipelines."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import torch
from transformers import pipeline
from transformers.pipelines.pt_utils import KeyDataset

from common.image_to_text_calls import encoded
from common.picture_bench import Bench, Call
from common.tiny_vqa_models import MODELS, QUESTIONS


# Of every pipeline: in a call, 4.57 lets the limit of those that generate pass.
ARGUMENTS = {"max_new_tokens": 5}


def questions(on: Bench) -> list[str]:
    """The questions; with the image's tokens, where the model reads it at these, as 4.57 put none there."""
    return ["<image>" * MODELS[on.name].image_length + question for question in QUESTIONS]


def first(on: Bench) -> str:
    return questions(on)[0]


def long(on: Bench) -> str:
    return first(on) + " ".join(QUESTIONS * 4)


def pairs(on: Bench) -> list[dict[str, Any]]:
    return [
        {"image": picture, "question": question} for picture, question in zip(on.pictures, questions(on), strict=False)
    ]


# Of every family.
WHAT_IT_ANSWERS: dict[str, Call] = {
    "one": lambda on: on.pipe(on.picture, first(on)),
    "all questions about all pictures": lambda on: on.pipe(on.pictures, questions(on)),
    "words alone": lambda on: on.pipe(on.picture, QUESTIONS[0]),
    "words alone, batch of 2": lambda on: on.pipe(on.pictures[:3], QUESTIONS[0], batch_size=2),
    "batch of 2": lambda on: on.pipe(pairs(on), batch_size=2),
    "one question, batch of 2": lambda on: on.pipe(on.pictures, first(on), batch_size=2),
    "batch of all": lambda on: on.pipe(on.pictures, first(on), batch_size=8),
    "top 1": lambda on: on.pipe(on.picture, first(on), top_k=1),
    "top 3": lambda on: on.pipe(on.picture, first(on), top_k=3),
    "top 99": lambda on: on.pipe(on.picture, first(on), top_k=99),
    "top 0": lambda on: on.pipe(on.picture, first(on), top_k=0),
    "top -1": lambda on: on.pipe(on.picture, first(on), top_k=-1),
    "top 2.0": lambda on: on.pipe(on.picture, first(on), top_k=2.0),
    "topk": lambda on: on.pipe(on.picture, first(on), topk=2),
    "top 2 at construction": lambda on: on.make(top_k=2)(on.picture, first(on)),
    "unknown argument": lambda on: on.pipe(on.picture, first(on), colour="red"),
    "unknown argument at construction": lambda on: on.make(colour="red")(on.picture, first(on)),
    "beams": lambda on: on.pipe(on.picture, first(on), num_beams=2),
    "beams at construction": lambda on: on.make(num_beams=2)(on.picture, first(on)),
    "max_new_tokens": lambda on: on.pipe(on.picture, first(on), max_new_tokens=2),
    "generate_kwargs": lambda on: on.pipe(on.picture, first(on), generate_kwargs={"max_new_tokens": 2}),
    "max_length at construction": lambda on: on.make(max_new_tokens=None, max_length=7)(on.picture, first(on)),
    "max_length of the checkpoint": lambda on: on.wishing(max_length=9)(on.picture, first(on)),
    "beams of the checkpoint": lambda on: on.wishing(num_beams=3, length_penalty=-1.0)(on.picture, first(on)),
    "penalty of the checkpoint": lambda on: on.wishing(repetition_penalty=3.0)(on.picture, first(on)),
    "no pad token": lambda on: on.wishing(pad_token_id=None)(on.picture, first(on)),
    "no pad token at all": lambda on: on.without_pad_token()(on.picture, first(on)),
    "empty question": lambda on: on.pipe(on.picture, ""),
    "too long": lambda on: on.pipe(on.picture, long(on)),
    "truncation": lambda on: on.pipe(on.picture, long(on), truncation=True),
    "padding": lambda on: on.pipe(on.picture, first(on), padding="max_length"),
    "bfloat16": lambda on: on.load(dtype=torch.bfloat16)(on.picture, first(on), top_k=1),
    "saved and loaded": lambda on: on.saved_and_loaded()(on.picture, first(on)),
}
# Of one: what the pipeline does itself.
WHAT_GOES_IN: dict[str, Call] = {
    "names": lambda on: on.pipe(image=on.picture, question=first(on)),
    "pair": lambda on: on.pipe({"image": on.picture, "question": first(on)}),
    "pairs": lambda on: on.pipe(pairs(on)),
    "list of one": lambda on: on.pipe([on.picture], [first(on)]),
    "generator": lambda on: on.pipe(pair for pair in pairs(on)),
    "generator, batch of 2": lambda on: on.pipe((pair for pair in pairs(on)), batch_size=2),
    "KeyDataset": lambda on: on.pipe(KeyDataset([{"image": path} for path in on.paths], "image"), first(on)),
    "KeyDataset, questions": lambda on: on.pipe(
        KeyDataset([{"image": path} for path in on.paths[:2]], "image"), questions(on)[:2]
    ),
    "batch_size at construction": lambda on: on.make(batch_size=2)(pairs(on)),
    "path": lambda on: on.pipe(on.paths[0], first(on)),
    "paths": lambda on: on.pipe(on.paths, first(on)),
    "paths and pictures": lambda on: on.pipe([on.paths[0], on.pictures[1]], first(on)),
    "pathlib": lambda on: on.pipe(Path(on.paths[0]), first(on)),
    "base64": lambda on: on.pipe(encoded(on.paths[0]), first(on)),
    "series": lambda on: on.pipe(pandas.Series(on.paths[:2]), first(on)),
    "array of paths": lambda on: on.pipe(np.array(on.paths[:2]), first(on)),
    "tuple": lambda on: on.pipe(tuple(on.paths[:2]), first(on)),
    "tuple of questions": lambda on: on.pipe(on.paths[0], tuple(questions(on))),
    "grey": lambda on: on.pipe(on.picture.convert("L"), first(on)),
    "timeout": lambda on: on.pipe(on.picture, first(on), timeout=9.0),
    "no images": lambda on: on.pipe([], first(on)),
    "no questions": lambda on: on.pipe(on.picture, []),
    "nothing": lambda on: on.pipe([]),
    "None": lambda on: on.pipe(None, first(on)),
    "no question": lambda on: on.pipe(on.picture),
    "question None": lambda on: on.pipe(on.picture, None),
    "None in the images": lambda on: on.pipe([on.picture, None], first(on)),
    "None in the questions": lambda on: on.pipe(on.picture, [first(on), None]),
    "number": lambda on: on.pipe(5, first(on)),
    "question of another type": lambda on: on.pipe(on.picture, 5),
    "array": lambda on: on.pipe(np.asarray(on.picture), first(on)),
    "pair without a question": lambda on: on.pipe({"image": on.picture}),
    "pair with more": lambda on: on.pipe({"image": on.picture, "question": first(on), "id": 3}),
    "no such file": lambda on: on.pipe("missing.png", first(on)),
    "device": lambda on: on.make(device=torch.device("cpu"))(on.picture, first(on)),
    "device -1": lambda on: on.make(device=-1)(on.picture, first(on)),
    "torch_dtype": lambda on: on.load(torch_dtype=torch.float64)(on.picture, first(on)),
    "objects": lambda on: on.make()(on.picture, first(on)),
    "no task": lambda on: pipeline(model=str(on.folder), device="cpu")(on.picture, first(on)),
    "vqa": lambda on: pipeline("vqa", model=str(on.folder), device="cpu", **ARGUMENTS)(on.picture, first(on)),
}


def asked(name: str, style: str) -> dict[str, Call]:
    """What is asked of a family in a style of folder."""
    return WHAT_IT_ANSWERS | WHAT_GOES_IN if (name, style) == ("vilt", "new") else WHAT_IT_ANSWERS
