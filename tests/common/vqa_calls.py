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
from common.tiny_vqa_models import QUESTIONS


QUESTION = QUESTIONS[0]
LONG = " ".join(QUESTIONS * 4)


def pairs(on: Bench) -> list[dict[str, Any]]:
    return [{"image": picture, "question": question} for picture, question in zip(on.pictures, QUESTIONS)]


# Of every family.
WHAT_IT_ANSWERS: dict[str, Call] = {
    "one": lambda on: on.pipe(on.picture, QUESTION),
    "all questions about all pictures": lambda on: on.pipe(on.pictures, QUESTIONS),
    "batch of 2": lambda on: on.pipe(pairs(on), batch_size=2),
    "one question, batch of 2": lambda on: on.pipe(on.pictures, QUESTION, batch_size=2),
    "batch of all": lambda on: on.pipe(on.pictures, QUESTION, batch_size=8),
    "top 1": lambda on: on.pipe(on.picture, QUESTION, top_k=1),
    "top 3": lambda on: on.pipe(on.picture, QUESTION, top_k=3),
    "top 99": lambda on: on.pipe(on.picture, QUESTION, top_k=99),
    "top 0": lambda on: on.pipe(on.picture, QUESTION, top_k=0),
    "top -1": lambda on: on.pipe(on.picture, QUESTION, top_k=-1),
    "top 2.0": lambda on: on.pipe(on.picture, QUESTION, top_k=2.0),
    "topk": lambda on: on.pipe(on.picture, QUESTION, topk=2),
    "top 2 at construction": lambda on: on.make(top_k=2)(on.picture, QUESTION),
    "unknown argument": lambda on: on.pipe(on.picture, QUESTION, colour="red"),
    "unknown argument at construction": lambda on: on.make(colour="red")(on.picture, QUESTION),
    "beams": lambda on: on.pipe(on.picture, QUESTION, num_beams=2),
    "beams at construction": lambda on: on.make(num_beams=2)(on.picture, QUESTION),
    "max_new_tokens": lambda on: on.pipe(on.picture, QUESTION, max_new_tokens=2),
    "generate_kwargs": lambda on: on.pipe(on.picture, QUESTION, generate_kwargs={"max_new_tokens": 2}),
    "max_length at construction": lambda on: on.make(max_new_tokens=None, max_length=7)(on.picture, QUESTION),
    "max_length of the checkpoint": lambda on: on.wishing(max_length=9)(on.picture, QUESTION),
    "beams of the checkpoint": lambda on: on.wishing(num_beams=3, length_penalty=-1.0)(on.picture, QUESTION),
    "penalty of the checkpoint": lambda on: on.wishing(repetition_penalty=3.0)(on.picture, QUESTION),
    "no pad token": lambda on: on.wishing(pad_token_id=None)(on.picture, QUESTION),
    "no pad token at all": lambda on: on.without_pad_token()(on.picture, QUESTION),
    "empty question": lambda on: on.pipe(on.picture, ""),
    "too long": lambda on: on.pipe(on.picture, LONG),
    "truncation": lambda on: on.pipe(on.picture, LONG, truncation=True),
    "padding": lambda on: on.pipe(on.picture, QUESTION, padding="max_length"),
    "bfloat16": lambda on: on.load(dtype=torch.bfloat16)(on.picture, QUESTION, top_k=1),
    "saved and loaded": lambda on: on.saved_and_loaded()(on.picture, QUESTION),
}
# Of one: what the pipeline does itself.
WHAT_GOES_IN: dict[str, Call] = {
    "names": lambda on: on.pipe(image=on.picture, question=QUESTION),
    "pair": lambda on: on.pipe({"image": on.picture, "question": QUESTION}),
    "pairs": lambda on: on.pipe(pairs(on)),
    "list of one": lambda on: on.pipe([on.picture], [QUESTION]),
    "generator": lambda on: on.pipe(pair for pair in pairs(on)),
    "generator, batch of 2": lambda on: on.pipe((pair for pair in pairs(on)), batch_size=2),
    "KeyDataset": lambda on: on.pipe(KeyDataset([{"image": path} for path in on.paths], "image"), QUESTION),
    "KeyDataset, questions": lambda on: on.pipe(
        KeyDataset([{"image": path} for path in on.paths[:2]], "image"), QUESTIONS[:2]
    ),
    "batch_size at construction": lambda on: on.make(batch_size=2)(pairs(on)),
    "path": lambda on: on.pipe(on.paths[0], QUESTION),
    "paths": lambda on: on.pipe(on.paths, QUESTION),
    "paths and pictures": lambda on: on.pipe([on.paths[0], on.pictures[1]], QUESTION),
    "pathlib": lambda on: on.pipe(Path(on.paths[0]), QUESTION),
    "base64": lambda on: on.pipe(encoded(on.paths[0]), QUESTION),
    "series": lambda on: on.pipe(pandas.Series(on.paths[:2]), QUESTION),
    "array of paths": lambda on: on.pipe(np.array(on.paths[:2]), QUESTION),
    "tuple": lambda on: on.pipe(tuple(on.paths[:2]), QUESTION),
    "tuple of questions": lambda on: on.pipe(on.paths[0], tuple(QUESTIONS)),
    "grey": lambda on: on.pipe(on.picture.convert("L"), QUESTION),
    "timeout": lambda on: on.pipe(on.picture, QUESTION, timeout=9.0),
    "no images": lambda on: on.pipe([], QUESTION),
    "no questions": lambda on: on.pipe(on.picture, []),
    "nothing": lambda on: on.pipe([]),
    "None": lambda on: on.pipe(None, QUESTION),
    "no question": lambda on: on.pipe(on.picture),
    "question None": lambda on: on.pipe(on.picture, None),
    "None in the images": lambda on: on.pipe([on.picture, None], QUESTION),
    "None in the questions": lambda on: on.pipe(on.picture, [QUESTION, None]),
    "number": lambda on: on.pipe(5, QUESTION),
    "question of another type": lambda on: on.pipe(on.picture, 5),
    "array": lambda on: on.pipe(np.asarray(on.picture), QUESTION),
    "pair without a question": lambda on: on.pipe({"image": on.picture}),
    "pair with more": lambda on: on.pipe({"image": on.picture, "question": QUESTION, "id": 3}),
    "no such file": lambda on: on.pipe("missing.png", QUESTION),
    "device": lambda on: on.make(device=torch.device("cpu"))(on.picture, QUESTION),
    "device -1": lambda on: on.make(device=-1)(on.picture, QUESTION),
    "torch_dtype": lambda on: on.load(torch_dtype=torch.float64)(on.picture, QUESTION),
    "objects": lambda on: on.make()(on.picture, QUESTION),
    "no task": lambda on: pipeline(model=str(on.folder), device="cpu")(on.picture, QUESTION),
    "vqa": lambda on: pipeline("vqa", model=str(on.folder), device="cpu", **{"max_new_tokens": 5})(on.picture, QUESTION),
}
