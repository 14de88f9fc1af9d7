"""Ours beside JoeyNMT, OpenNMT-py, BLIP-base and ViT-GPT2: training, translations and captions a second."""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from hf_attention.training.data.arguments import TokenizerArguments
from hf_attention.training.data.reading import get_split, load_splits
from hf_attention.training.data.sampling import LengthBatchSampler
from hf_attention.training.data.texts import text_pairs
from hf_attention.training.loop.arguments import LoopArguments
from hf_attention.training.loop.train import create_optimizer
from hf_attention.training.tasks.translating.arguments import DEFAULTS
from hf_attention.training.tasks.translating.model import make_tokenizer

from .peer_captioners import make_blip, make_ours, make_vit_gpt2, pixels_for
from .peer_translators import END, PAD, START, JoeyNMT, OpenNMT, Ours, Pairs, Sizes, Translator
from .timing import Targets, medians


PARTS = ("training", "writing", "captions")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
BUCKET = 20  # batches among which pairs are sorted by length, as in the recipe
OURS, LIKE_JOEYNMT, JOEYNMT, BLIP, VIT_GPT2 = "ours", "ours as JoeyNMT has it", "JoeyNMT", "BLIP-base", "ViT-GPT2"

# How many times the peer's float32 ours should be: greedy search in float32 and bfloat16, and beam search.
SENTENCES = {"cpu": (2.2, 4.0, 2.0, 4.0), "cuda": (5.0, 5.0, 5.0, 5.0)}
CAPTIONS = {"cpu": (30, 60, 60, 100), "cuda": (20, 20, 20, 20)}
TRAINING = {"cpu": None, "cuda": 5.0}


class Case(NamedTuple):
    """
    Something that is timed.

    Args:
        run (`Callable`): One run of it.
        amount (`int`): The tokens, sentences or captions of a run.
    """

    run: Callable[[], object]
    amount: int


Cases = dict[str, Case]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--joeynmt", type=Path, help="folder that holds the package joeynmt; without, it is left out")
    parser.add_argument("--opennmt", type=Path, help="folder that holds OpenNMT-py's package onmt; likewise")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=list(PARTS), help="what is measured; default: all")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where")
    parser.add_argument("--dataset_name", help="Hub name or folder of pairs whose lengths are taken; else drawn")
    parser.add_argument("--source_lang", default="en", help="source language in its translation column")
    parser.add_argument("--target_lang", default="de", help="target language")
    parser.add_argument("--batch_size", type=int, default=80, help="pairs of a batch in training")
    parser.add_argument("--train_batches", type=int, default=4, help="batches of a timed run of training")
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 1], help="sentences translated at once")
    parser.add_argument("--images", type=int, default=8, help="images captioned at once")
    parser.add_argument("--beams", type=int, default=5, help="beams, beside greedy search")
    parser.add_argument("--tokens", type=int, default=20, help="tokens of a translation or caption")
    parser.add_argument("--cpu_time", action="store_true", help="count this process's time, where others run beside")
    parser.add_argument("--quick", action="store_true", help="tiny models, which show that everything runs")


def draw_lengths(args: argparse.Namespace, num_pairs: int) -> list[tuple[int, int]]:
    """The tokens of source and target, each with its end: those of a data set, or much as Multi30k has them."""
    if args.dataset_name is None:
        source = (14 + 4 * torch.randn(num_pairs)).clamp(5, 40)
        target = (source * (1 + 0.2 * torch.randn(num_pairs))).clamp(5, 40)
        return list(zip(source.long().tolist(), target.long().tolist(), strict=True))
    texts = text_pairs(
        get_split(load_splits(args.dataset_name), "train"), source_lang=args.source_lang, target_lang=args.target_lang
    )
    options = {name: DEFAULTS[name] for name in ("tokenizer_type", "vocab_size", "min_count")}
    tokenizer = make_tokenizer(TokenizerArguments(**options), lambda: texts, separate=False)
    texts = texts.shuffle(seed=0).select(range(min(num_pairs, len(texts))))
    sides = [[len(ids) for ids in tokenizer(list(texts[side]))["input_ids"]] for side in ("source", "target")]
    return list(zip(*sides, strict=True))


def make_pairs(lengths: list[tuple[int, int]], vocabulary: int, device: str) -> Pairs:
    """Random sentences of these lengths."""

    def sentence(length: int) -> torch.Tensor:
        return torch.cat([torch.randint(END + 1, vocabulary, (length - 1,)), torch.tensor([END])])

    def padded(sentences: list[torch.Tensor]) -> torch.Tensor:
        return pad_sequence(sentences, batch_first=True, padding_value=PAD).to(device)

    lengths = sorted(lengths, reverse=True)
    return Pairs(
        padded([sentence(source) for source, _ in lengths]),
        torch.tensor([source for source, _ in lengths], device=device),
        padded([torch.cat([torch.tensor([START]), sentence(target)]) for _, target in lengths]),
    )


def make_batches(
    lengths: list[tuple[int, int]], bucket_batches: int, args: argparse.Namespace, vocabulary: int
) -> list[Pairs]:
    """As many batches as are timed, drawn among those of an epoch."""
    batches = list(LengthBatchSampler(lengths, args.batch_size, bucket_batches))
    # Every so many of them by length, so that those that are drawn are neither the short nor the long ones.
    batches.sort(key=lambda rows: sum(lengths[row][1] for row in rows))
    step = max(len(batches) // args.train_batches, 1)
    chosen = batches[step // 2 :: step][: args.train_batches]
    return [make_pairs([lengths[row] for row in rows], vocabulary, args.device) for rows in chosen]


def training(args: argparse.Namespace, sizes: Sizes) -> tuple[Cases, Targets]:
    """Target tokens a second of forward, loss, backward, clipping and Adam."""
    lengths = draw_lengths(args, BUCKET * args.batch_size)
    bucketed, random_order = (make_batches(lengths, bucket, args, sizes.vocabulary) for bucket in (BUCKET, 1))
    cases: Cases = {}

    def add(name: str, translator: Translator, batches: list[Pairs], dtype: torch.dtype) -> None:
        model = translator.model.to(args.device).train()
        if isinstance(translator, Ours):
            optimizer = create_optimizer(model, LoopArguments(output_dir="", learning_rate=1e-4))
        else:
            optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

        def epoch() -> None:
            for pairs in batches:
                with torch.autocast(args.device, torch.bfloat16, enabled=dtype is torch.bfloat16):
                    loss = translator.loss(pairs)
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), DEFAULTS["max_grad_norm"])
                optimizer.step()
                optimizer.zero_grad()

        tokens = sum(int((pairs.target[:, 1:] != PAD).sum()) for pairs in batches)
        cases[f"training, target tokens: {name}"] = Case(epoch, tokens)

    add(OURS, Ours(sizes), bucketed, torch.bfloat16)
    add(LIKE_JOEYNMT, Ours(sizes, like_joeynmt=True), bucketed, torch.bfloat16)
    if args.joeynmt is not None:
        translator = JoeyNMT(args.joeynmt, sizes)
        add(f"{JOEYNMT} as shipped", translator, random_order, torch.float32)
        add(f"{JOEYNMT}, bfloat16, our batches", translator, bucketed, torch.bfloat16)
    if args.opennmt is not None:
        for attention in ("mlp", "general"):
            translator = OpenNMT(args.opennmt, sizes, attention)
            # It sorts by length itself.
            add(f"OpenNMT-py {attention} as shipped", translator, bucketed, torch.float32)
            add(f"OpenNMT-py {attention}, bfloat16", translator, bucketed, torch.bfloat16)
    ours, _, *others = cases
    return cases, {f"{ours} / {other}": (TRAINING[args.device], None) for other in others}


def compared(
    makers: dict[str, Callable[[torch.dtype], Callable[[int], Case]]],
    args: argparse.Namespace,
    what: str,
    aims: tuple[float | None, ...],
    peers: tuple[str, ...],
) -> tuple[Cases, Targets]:
    """
    Greedy and beam search in float32 and bfloat16, and ours beside each peer's float32 and its bfloat16.

    Args:
        makers (`dict`): By name, what makes of a dtype what makes of a number of beams a case.
        args (`argparse.Namespace`): The options.
        what (`str`): What a second is counted in.
        aims (`tuple` of `float`, *optional*): How many times the first peer's float32 ours should be, in that order.
        peers (`tuple[str, ...]`): With which ours is compared.
    """
    cases: Cases = {}
    searches = {"greedy": 1, f"beam {args.beams}": args.beams}
    for dtype_name, dtype in DTYPES.items():
        for who, make in makers.items():
            case_of = make(dtype)
            for search, num_beams in searches.items():
                cases[f"{search}, {dtype_name}, {what}: {who}"] = case_of(num_beams)
    settings = [(search, dtype_name) for search in searches for dtype_name in DTYPES]
    targets: Targets = {}
    for (search, dtype_name), aim in zip(settings, aims, strict=True):
        for peer in peers:
            name = f"{search}, {dtype_name}, {what}: {OURS} / {search}, float32, {what}: {peer}"
            targets[name] = (aim if peer == peers[0] else None, None)
            if dtype_name != "float32":
                targets[f"{search}, {dtype_name}, {what}: {OURS} / {search}, {dtype_name}, {what}: {peer}"] = (
                    None,
                    None,
                )
    return cases, targets


def writing(args: argparse.Namespace, sizes: Sizes) -> tuple[Cases, Targets]:
    """Sentences a second."""
    makers = {OURS: partial(Ours, sizes), LIKE_JOEYNMT: partial(Ours, sizes, like_joeynmt=True)}
    if args.joeynmt is not None:
        makers[JOEYNMT] = partial(JoeyNMT, args.joeynmt, sizes)
    cases, targets = {}, {}
    for batch in args.batches:
        pairs = make_pairs(draw_lengths(args, batch), sizes.vocabulary, args.device)

        def make(maker: Callable[[], Translator], dtype: torch.dtype, pairs: Pairs = pairs) -> Callable[[int], Case]:
            translator = maker()
            translator.model.to(args.device, dtype).eval()

            def case_of(num_beams: int) -> Case:
                return Case(partial(translator.write, pairs, num_beams, args.tokens), len(pairs.source))

            return case_of

        some, ratios = compared(
            {name: partial(make, maker) for name, maker in makers.items()},
            args,
            f"batch {batch}, sentences",
            SENTENCES[args.device] if batch > 1 else (None,) * 4,
            (JOEYNMT,) if args.joeynmt is not None else (),
        )
        cases |= some
        targets |= ratios
    return cases, targets


def captions(args: argparse.Namespace, sizes: Sizes) -> tuple[Cases, Targets]:
    """Captions a second."""
    makers = {
        OURS: partial(make_ours, sizes.vocabulary, args.quick),
        BLIP: partial(make_blip, args.quick),
        VIT_GPT2: partial(make_vit_gpt2, args.quick),
    }
    length = {"min_new_tokens": args.tokens, "max_new_tokens": args.tokens}

    def make(maker: Callable[[], nn.Module], dtype: torch.dtype) -> Callable[[int], Case]:
        model = maker().to(args.device, dtype).eval()
        images = pixels_for(model, args.images)

        def write(num_beams: int) -> torch.Tensor:
            written = model.generate(pixel_values=images, num_beams=num_beams, do_sample=False, **length)
            return written[:, -args.tokens :]

        return lambda num_beams: Case(partial(write, num_beams), args.images)

    return compared(
        {name: partial(make, maker) for name, maker in makers.items()},
        args,
        f"{args.images} images, captions",
        CAPTIONS[args.device],
        (BLIP, VIT_GPT2),
    )


def run(args: argparse.Namespace) -> tuple[dict[str, float], Targets, str]:
    """Tokens, sentences and captions a second."""
    if args.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("--device cuda: PyTorch finds no GPU here.")
    sizes = Sizes(vocabulary=60, embedding=8, encoder=6, decoder=12) if args.quick else Sizes()
    for option, package in (("joeynmt", "JoeyNMT"), ("opennmt", "OpenNMT-py")):
        if getattr(args, option) is None:
            print(f"{package} is left out: --{option} names no folder that holds it.")
    cases, targets = {}, {}
    for part, make in (("training", training), ("writing", writing), ("captions", captions)):
        if part in args.only:
            some, ratios = make(args, sizes)
            cases |= some
            targets |= ratios

    def timed(case: Case) -> None:
        written = case.run()
        if args.device == "cuda":
            torch.cuda.synchronize()
        if written is not None and written.shape[1] != args.tokens:
            raise RuntimeError(f"{tuple(written.shape)} tokens were written, {args.tokens} a row were asked for.")

    times = medians(
        {name: partial(timed, case) for name, case in cases.items()},
        args.repeats,
        time.process_time if args.cpu_time else time.perf_counter,
    )
    rates = {name: 1000 * cases[name].amount / milliseconds for name, milliseconds in times.items()}
    return rates, targets, "a second"
