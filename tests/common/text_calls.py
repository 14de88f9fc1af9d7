"""
What is asked of the pipelines that turn text into text, and what they answer, in a form that JSON holds.

`scripts/record_pipeline_answers.py` asks transformers 4.57, and the tests compare with it.
"""

import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, GenerationConfig, pipeline
from transformers.pipelines.pt_utils import KeyDataset

from common.folder_styles import STYLES
from common.text_families import FAMILIES


SOURCES = ["a red ball", "two large dog runs in the snow near a house .", "sea"]
ONE, LONG = SOURCES[0], " ".join(["the small cat lies on a box in", SOURCES[1], "and", SOURCES[1]])
SHORT = {"max_new_tokens": 5}
KEYS = {"translation": "translation", "summarization": "summary", "text2text-generation": "generated"}


@dataclass(frozen=True)
class Call:
    """
    Args:
        inputs: What is asked, by position; a function makes what is read only once.
        arguments: What is asked, by name.
        options: How the pipeline is made: its arguments, or `saved`, or `objects`.
    """

    inputs: tuple[Any, ...]
    arguments: dict[str, Any]
    options: dict[str, Any]


def call(*inputs: Any, options: dict[str, Any] | None = None, **arguments: Any) -> Call:
    return Call(inputs or (ONE,), arguments, options or {})


def short(*inputs: Any, **kwargs: Any) -> Call:
    return call(*inputs, **SHORT | kwargs)


def rows() -> KeyDataset:
    return KeyDataset([{"text": source} for source in SOURCES], "text")


# Whose answer depends on the model: its settings of generation, its tokens, how it takes a batch.
OF_THE_MODEL: dict[str, Call] = {
    "nothing said": call(SOURCES[1]),
    "no token twice": call(no_repeat_ngram_size=1),
    "one": short(),
    "list": short(SOURCES),
    "batch of 3": short(SOURCES, batch_size=3),
    "greedy": short(SOURCES[1], num_beams=1),
    "3 beams, 2 sequences": short(num_beams=3, num_return_sequences=2),
    "2 sequences, batch of 2": short(SOURCES[:2], num_return_sequences=2, batch_size=2),
    "2 sequences": short(num_return_sequences=2),
    "max_length": call(max_length=6),
    "both limits": call(max_length=4, max_new_tokens=7),
    "max_new_tokens at construction": call(options={"max_new_tokens": 3}),
    "max_length at construction": call(options={"max_length": 5}),
    "max_new_tokens of both": call(options={"max_new_tokens": 3}, max_new_tokens=4),
    "num_beams at construction": short(options={"num_beams": 2, "num_return_sequences": 2}),
    "min_length": short(SOURCES[2], min_length=4),
    "min_new_tokens": short(SOURCES[2], min_new_tokens=4),
    "penalties": short(repetition_penalty=1.4, length_penalty=0.2, no_repeat_ngram_size=2, early_stopping=True),
    "forbidden tokens": short(bad_words_ids=[[10], [11]], suppress_tokens=[12]),
    "forced tokens": short(forced_bos_token_id=9, forced_eos_token_id=8),
    "generation_config": call(generation_config=GenerationConfig(max_new_tokens=4, num_beams=2)),
    "tensors": short(return_tensors=True),
    "tensors and text": short(return_tensors=True, return_text=True),
    "no text": short(return_text=False),
    "truncation": short(LONG, truncation=True),
    "no truncation": short(LONG, truncation=False),
    "clean up": short(SOURCES[1], clean_up_tokenization_spaces=True),
    "stop_sequence": call(stop_sequence="near", no_repeat_ngram_size=1),
    "empty": short(""),
    "blank": short(" "),
    "one is empty": short(["a", "", "b"]),
    "one of a batch is empty": short(["a", "", "b"], batch_size=3),
    "float64": short(options={"dtype": "float64"}),
    "bfloat16": short(options={"dtype": "bfloat16"}),
    "saved and loaded": short(options={"saved": True}),
}
# Whose answer is the pipeline's own doing.
OF_THE_PIPELINE: dict[str, Call] = {
    "list of one": short([ONE]),
    "empty list": short([]),
    "tuple": short(tuple(SOURCES)),
    "generator": short(lambda: (source for source in SOURCES)),
    "generator, batch of 2": short(lambda: (source for source in SOURCES), batch_size=2),
    "KeyDataset": short(rows),
    "KeyDataset, batch of 2": short(rows, batch_size=2),
    "batch_size at construction": short(SOURCES, options={"batch_size": 2}),
    "num_workers": short(rows, num_workers=0),
    "KeyDataset with an empty row": short(lambda: KeyDataset([{"text": ONE}, {"text": ""}], "text")),
    "generate_kwargs": call(generate_kwargs={"max_new_tokens": 4}),
    "generate_kwargs at construction": call(options={"generate_kwargs": {"max_new_tokens": 4}}),
    "objects": short(options={"objects": True}),
    "device": short(options={"device": torch.device("cpu")}),
    "device -1": short(options={"device": -1}),
    "extra arguments": short(ONE, SOURCES[1], SOURCES[2]),
    "None": short(None),
    "None in a list": short(["a", None]),
    "number": short(3),
    "bytes": short(b"sea"),
    "dictionary": short({"text": "sea"}),
    "unknown argument": short(colour="red"),
    "unknown argument at construction": short(options={"colour": "red"}),
    "more sequences than beams": short(num_beams=2, num_return_sequences=3),
    "no tokens": call(max_new_tokens=0),
    "src_lang that does not matter": short(src_lang="en_XX"),
}
# The languages are a model's codes.
OF_THE_LANGUAGES: dict[str, Call] = {
    "at construction": short(options={"src_lang": "{0}", "tgt_lang": "{1}"}),
    "at the call": short(src_lang="{0}", tgt_lang="{1}"),
    "the call's before": short(options={"src_lang": "{0}", "tgt_lang": "{1}"}, src_lang="{1}", tgt_lang="{0}"),
    "the target alone": short(tgt_lang="{1}"),
    "the source alone": short(src_lang="{0}"),
    "neither": short(),
    "batch": short(SOURCES, src_lang="{0}", tgt_lang="{1}", batch_size=2),
    "tensors": short(src_lang="{0}", tgt_lang="{1}", return_tensors=True),
    "forced_bos_token_id": short(src_lang="{0}", tgt_lang="{1}", forced_bos_token_id=9),
    "unknown": short(src_lang="{0}", tgt_lang="xx_YY"),
    "one is empty": short(["a", ""], src_lang="{0}", tgt_lang="{1}"),
}

FEW = {name: OF_THE_MODEL[name] for name in ("no token twice", "list", "tensors")}


def runs() -> Iterator[tuple[str, str, str, dict[str, Call]]]:
    """Family, style of its folder, task, and what is asked."""
    for name, family in FAMILIES.items():
        for style in STYLES:
            yield name, style, "text2text-generation", OF_THE_MODEL
            yield name, style, "summarization", FEW
            if family.codes:
                yield name, style, "translation", OF_THE_LANGUAGES
                yield name, style, "translation_{}_to_{}".format(*family.codes[1:3]), FEW
            else:
                yield name, style, "translation_en_to_de", FEW
            if name in ("bart", "marian", "t5"):
                for task in ("translation", "translation_xx_to_yy", "translation_en_to_fr"):
                    yield name, style, task, FEW
        if name in ("bart", "t5"):
            for task in KEYS:
                yield name, "new", task, OF_THE_PIPELINE


class Asked:
    """
    The answers of one family's pipelines.

    Args:
        folder: The model.
        codes: The languages that a call's `{0}` and `{1}` stand for.
    """

    def __init__(self, folder: Path, codes: list[str]) -> None:
        self.folder = folder
        self.codes = codes[1:3]
        self.pipelines: dict[str, Any] = {}

    def __call__(self, task: str, call: Call) -> Any:
        """What `call` is answered: as JSON holds it, with what an iterator yields and the name of an error marked."""
        try:
            asked = self._pipeline(task, self._fill(call.options))
            inputs = [made() if callable(made) else made for made in call.inputs]
            answer = asked(*inputs, **self._fill(call.arguments))
            return plain(answer) if isinstance(answer, list) else {"yields": plain(list(answer))}
        except Exception as error:
            return {"raises": type(error).__name__}

    def _fill(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {
            name: value.format(*self.codes) if name in ("src_lang", "tgt_lang") else value
            for name, value in arguments.items()
        }

    def _pipeline(self, task: str, options: dict[str, Any]) -> Any:
        key = f"{task} {options}"
        if key not in self.pipelines:
            self.pipelines[key] = self._make(task, **options)
        return self.pipelines[key]

    def _make(self, task: str, saved: bool = False, objects: bool = False, **options: Any) -> Any:
        options = {"device": "cpu"} | options
        if objects:
            model = AutoModelForSeq2SeqLM.from_pretrained(self.folder)
            return pipeline(task, model=model, tokenizer=AutoTokenizer.from_pretrained(self.folder), **options)
        if saved:
            with tempfile.TemporaryDirectory() as folder:
                pipeline(task, model=str(self.folder), **options).save_pretrained(folder)
                return pipeline(task, model=folder, **options)
        return pipeline(task, model=str(self.folder), **options)


def plain(answer: Any) -> Any:
    """An answer as JSON holds it; of a long text the beginning, and its sum in place of the rest."""
    if isinstance(answer, list):
        return [plain(each) for each in answer]
    if isinstance(answer, dict):
        return {key: plain(value) for key, value in answer.items()}
    if isinstance(answer, str) and len(answer) > 60:
        return f"{answer[:40]}… {len(answer)} {zlib.crc32(answer.encode()):x}"
    return answer.tolist() if isinstance(answer, torch.Tensor) else answer
