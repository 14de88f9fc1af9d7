"""What each part of hf_attention.fast is worth: a training step, and the writing of 20 tokens, with each part off."""

import argparse
import time
from collections.abc import Callable

import torch
from datasets import load_dataset
from transformers import AutoProcessor, MobileNetV2Config

from hf_attention import (
    AttentionCaptionerConfig,
    AttentionCaptionerForConditionalGeneration,
    AttentionSeq2SeqConfig,
    AttentionSeq2SeqForConditionalGeneration,
    RecurrentLMConfig,
    RecurrentLMForCausalLM,
    fast,
)

from .timing import Targets, medians


TOKENS = 20
Step = Callable[[], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", choices=tuple(MAKERS), default="captioner", help="which model is trained")
    parser.add_argument("--float32", action="store_true", help="train in float32; default: bfloat16")
    parser.add_argument("--generate", action="store_true", help="time writing, in float32, in place of training")
    parser.add_argument("--bfloat16", action="store_true", help="with --generate: the weights in bfloat16")
    parser.add_argument("--beams", type=int, default=1, help="beams of the search, with --generate")
    parser.add_argument("--checkpoint", help="a trained captioner, whose captions end where they end")
    parser.add_argument("--dataset_name", help="the images, with --checkpoint: a split `validation`, a column `image`")
    parser.add_argument("--cpu_time", action="store_true", help="count this process's time, where others run beside")
    parser.add_argument("--batch", type=int, default=80, help="sequences of a batch")


def labels_of(batch: int, vocab_size: int) -> torch.Tensor:
    """Targets of which a fifth is padding."""
    labels = torch.randint(4, vocab_size, (batch, TOKENS))
    return labels.masked_fill(torch.rand(batch, TOKENS).sort(1).values > 0.8, -100)


def make_captioner(batch: int) -> tuple[AttentionCaptionerForConditionalGeneration, dict[str, torch.Tensor]]:
    """The recipe of scripts/train_captioner.py, five captions an image."""
    dropouts = dict.fromkeys(("embedding_dropout", "hidden_dropout", "readout_dropout", "memory_dropout"), 0.5)
    config = AttentionCaptionerConfig(region_size=1280, context_gate=True, label_smoothing=0.1, **dropouts)
    return AttentionCaptionerForConditionalGeneration(config), {"region_features": torch.randn(batch // 5, 81, 1280)}


def make_captioner_of_pixels(
    batch: int,
) -> tuple[AttentionCaptionerForConditionalGeneration, dict[str, torch.Tensor]]:
    """One that has its backbone, MobileNetV2 over 288 pixels, frozen; as many images as there are sequences."""
    config = AttentionCaptionerConfig(backbone_config=MobileNetV2Config(), freeze_backbone=True, context_gate=True)
    return AttentionCaptionerForConditionalGeneration(config), {"pixel_values": torch.randn(batch, 3, 288, 288)}


def make_translator(batch: int) -> tuple[AttentionSeq2SeqForConditionalGeneration, dict[str, torch.Tensor]]:
    """The recipe of scripts/train_seq2seq.py."""
    config = AttentionSeq2SeqConfig(
        encoder_hidden_size=256,
        attention_size=256,
        embedding_dropout=0.3,
        hidden_dropout=0.3,
        tie_word_embeddings=True,
        label_smoothing=0.1,
    )
    lengths = torch.randint(TOKENS // 2, TOKENS + 1, (batch, 1))
    mask = (torch.arange(TOKENS) < lengths).long()
    inputs = {"input_ids": torch.randint(4, 8000, (batch, TOKENS)) * mask, "attention_mask": mask}
    return AttentionSeq2SeqForConditionalGeneration(config), inputs


def make_language_model(batch: int) -> tuple[RecurrentLMForCausalLM, dict[str, torch.Tensor]]:
    """The settings of AWD-LSTM in the sizes of Zaremba et al. 2015."""
    config = RecurrentLMConfig.awd_lstm(embedding_size=650, hidden_size=650, num_hidden_layers=2)
    return RecurrentLMForCausalLM(config), {"input_ids": torch.randint(4, 10000, (batch, TOKENS))}


def load_captioner(
    checkpoint: str, dataset_name: str, batch: int
) -> tuple[AttentionCaptionerForConditionalGeneration, dict[str, torch.Tensor]]:
    """A trained one, and the regions of as many images."""
    model = AttentionCaptionerForConditionalGeneration.from_pretrained(checkpoint)
    images = load_dataset(dataset_name, split=f"validation[:{batch}]")["image"]
    pixels = AutoProcessor.from_pretrained(checkpoint)(images=list(images), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        return model, {"region_features": model.get_encoder().extract_regions(pixels)}


MAKERS = {
    "captioner": make_captioner,
    "captioner-of-pixels": make_captioner_of_pixels,
    "translator": make_translator,
    "language-model": make_language_model,
}


def run(args: argparse.Namespace) -> tuple[dict[str, float], Targets]:
    """Milliseconds of a step: forward, loss and backward, or the writing of 20 tokens."""
    ending = {"min_new_tokens": TOKENS, "max_new_tokens": TOKENS}
    if args.checkpoint is not None:
        (model, inputs), ending = load_captioner(args.checkpoint, args.dataset_name, args.batch), {}
    else:
        model, inputs = MAKERS[args.model](args.batch)
    if args.bfloat16:
        model.bfloat16()
        inputs = {name: value.bfloat16() if value.is_floating_point() else value for name, value in inputs.items()}
    if args.model == "language-model":
        labels, prompt = inputs["input_ids"], {"input_ids": inputs["input_ids"][:, :1]}
    else:
        labels, prompt = labels_of(args.batch, model.config.vocab_size), inputs

    def train() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=not args.float32):
            loss = model(**inputs, labels=labels).loss
        loss.backward()
        model.zero_grad()

    def generate() -> None:
        model.generate(**prompt, num_beams=args.beams, do_sample=False, **ending)

    def without(*parts: str) -> Step:
        def step() -> None:
            with fast.disable(*parts):
                generate() if args.generate else train()

        return step

    model.train(not args.generate)
    functions = {"all parts": generate if args.generate else train, "no part": without(*fast.PARTS)}
    functions |= {f"without {part}": without(part) for part in fast.PARTS}
    times = medians(functions, args.repeats, time.process_time if args.cpu_time else time.perf_counter)
    return times, {f"{name} / all parts": (None, None) for name in functions if name != "all parts"}
