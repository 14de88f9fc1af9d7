"""Beam search over a test split with a trained model: with the cache, and from the first word at every step."""

import argparse
import operator
from functools import partial

from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from hf_attention.training.data.reading import get_split, load_splits
from hf_attention.training.data.texts import text_pairs

from .timing import Targets, medians


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, help="folder or Hub name of a translator")
    parser.add_argument("--dataset_name", required=True, help="Hub name or folder of the data set")
    parser.add_argument("--source_lang", default="en", help="source language in its translation column")
    parser.add_argument("--target_lang", default="de", help="target language")
    parser.add_argument("--split", default="test", help="split whose sources are translated")
    parser.add_argument("--sentences", type=int, help="only so many of them")
    parser.add_argument("--batch", type=int, default=32, help="sentences at a time")
    parser.add_argument("--beams", type=int, default=5, help="beams")


def run(args: argparse.Namespace) -> tuple[dict[str, float], Targets]:
    """Milliseconds for all sentences; both ways must find the same translations."""
    model = AutoModelForSeq2SeqLM.from_pretrained(args.model).eval()
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    split = get_split(load_splits(args.dataset_name), args.split, args.sentences)
    pairs = text_pairs(split, source_lang=args.source_lang, target_lang=args.target_lang)
    sources = sorted(pairs["source"], key=len)

    def translate(use_cache: bool) -> list[str]:
        texts = []
        for start in range(0, len(sources), args.batch):
            inputs = tokenizer(sources[start : start + args.batch], padding=True, return_tensors="pt")
            sequences = model.generate(
                inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                num_beams=args.beams,
                use_cache=use_cache,
            )
            texts += tokenizer.batch_decode(sequences, skip_special_tokens=True)
        return texts

    differing = sum(map(operator.ne, translate(use_cache=True), translate(use_cache=False)))
    # Beams as likely as each other but for the last bits may end up in another order.
    if differing > len(sources) // 200:
        raise RuntimeError(f"With and without the cache, {differing} of {len(sources)} translations differ.")
    times = medians({"with cache": partial(translate, True), "without cache": partial(translate, False)}, args.repeats)
    return times, {"without cache / with cache": (5.0, None)}
