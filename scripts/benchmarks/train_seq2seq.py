"""Training on pairs of sentences: the recipe of scripts/train_seq2seq.py, and the same without each of its ways."""

import argparse
from collections.abc import Callable

import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader

from hf_attention import AttentionSeq2SeqForConditionalGeneration
from hf_attention.training.data.arguments import TokenizerArguments
from hf_attention.training.data.reading import get_split, load_splits
from hf_attention.training.data.texts import text_pairs
from hf_attention.training.loop.arguments import LoopArguments
from hf_attention.training.loop.train import create_optimizer
from hf_attention.training.tasks.translating.arguments import DEFAULTS, Seq2SeqModelArguments, TextPairArguments
from hf_attention.training.tasks.translating.examples import text_pair_dataloader
from hf_attention.training.tasks.translating.model import make_model, make_tokenizer

from .timing import Targets, medians


BUCKETS, BF16, REAL_POSITIONS = "bucketing", "bfloat16", "loss on real positions"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset_name", required=True, help="Hub name or folder of the data set")
    parser.add_argument("--source_lang", default="en", help="source language in its translation column")
    parser.add_argument("--target_lang", default="de", help="target language")
    parser.add_argument("--pairs", type=int, default=1280, help="pairs of the epoch that is timed, drawn at random")
    parser.add_argument("--batch_size", type=int, default=TextPairArguments.batch_size, help="pairs of one batch")
    parser.add_argument("--vocab_size", type=int, default=DEFAULTS["vocab_size"], help="pieces of the joint BPE")
    parser.add_argument("--encoder_hidden_size", type=int, default=256, help="encoder's state, a direction")
    parser.add_argument("--hidden_size", type=int, default=512, help="decoder's state")


def full_logits_loss(model: AttentionSeq2SeqForConditionalGeneration, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The same loss from the logits of every position, padding too."""
    labels = batch.pop("labels")
    outputs = model.model(**batch, decoder_input_ids=model.prepare_decoder_input_ids_from_labels(labels))
    logits = model.lm_head(outputs.last_hidden_state)
    return F.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), label_smoothing=model.config.label_smoothing, ignore_index=-100
    )


def run(args: argparse.Namespace) -> tuple[dict[str, float], Targets]:
    """
    Milliseconds of an epoch over the same pairs, so that times compare as target tokens a second do. A step is
    forward, loss, backward, clipping and AdamW.
    """
    pairs = text_pairs(
        get_split(load_splits(args.dataset_name), "train"), source_lang=args.source_lang, target_lang=args.target_lang
    )
    tokenizer_args = TokenizerArguments(
        tokenizer_type=DEFAULTS["tokenizer_type"], vocab_size=args.vocab_size, min_count=DEFAULTS["min_count"]
    )
    tokenizer = make_tokenizer(tokenizer_args, lambda: pairs, separate=False)
    pairs = pairs.shuffle(seed=0).select(range(min(args.pairs, len(pairs))))
    model_args = Seq2SeqModelArguments(
        encoder_hidden_size=args.encoder_hidden_size, hidden_size=args.hidden_size, memory_dropout=0.0
    )
    model = make_model(model_args, tokenizer).train()
    loop_args = LoopArguments(output_dir="", learning_rate=1e-4)
    optimizer = create_optimizer(model, loop_args)

    def loader(bucketed: bool) -> DataLoader:
        arguments = TextPairArguments(dataset_name=args.dataset_name, batch_size=args.batch_size)
        if not bucketed:
            arguments.bucket_batches = 1
        return text_pair_dataloader(pairs, tokenizer, arguments, seed=0)

    def epoch(ways: tuple[str, ...]) -> Callable[[], None]:
        batches = list(loader(BUCKETS in ways))

        def go() -> None:
            for batch in batches:
                batch = dict(batch)
                with torch.autocast("cpu", torch.bfloat16, enabled=BF16 in ways):
                    loss = model(**batch).loss if REAL_POSITIONS in ways else full_logits_loss(model, batch)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), loop_args.max_grad_norm)
                optimizer.step()
                optimizer.zero_grad()

        return go

    everything = (BUCKETS, BF16, REAL_POSITIONS)
    without = {way: tuple(other for other in everything if other != way) for way in everything}
    functions = {"recipe": epoch(everything), "none of its ways": epoch(())}
    functions |= {f"recipe without {way}": epoch(others) for way, others in without.items()}
    times = medians(functions, args.repeats)
    tokens = sum(int((batch["labels"] != -100).sum()) for batch in loader(bucketed=True))
    for name, milliseconds in times.items():
        print(f"{name}: {1000 * tokens / milliseconds:.0f} target tokens a second")
    targets: Targets = {f"recipe without {way} / recipe": (None, None) for way in everything}
    return times, {"none of its ways / recipe": (4.0, None), **targets}
