"""Answering questions about images through the pipeline, compared with a ViLT-base; both with random weights."""

import argparse

import numpy as np
from PIL import Image
from transformers import (
    MobileNetV2Config,
    PreTrainedModel,
    ViltConfig,
    ViltForQuestionAnswering,
)

from hf_attention import AttentionVQAConfig, AttentionVQAForQuestionAnswering, VisualQuestionAnsweringPipeline
from hf_attention.models.versions import pillow_image_processor
from hf_attention.training.data.tokenization import train_tokenizer

from .timing import Targets, medians


QUESTION = "what color is the chair on the left side of the table ?"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that [`run`] reads besides the common ones."""
    parser.add_argument("--questions", type=int, default=32, help="questions of a batch")
    parser.add_argument("--questions_an_image", type=int, default=1, help="how many in a row are about the same image")
    parser.add_argument("--answers", type=int, default=3000, help="known answers")


def run(args: argparse.Namespace) -> tuple[dict[str, float], Targets]:
    """The median time of a batch, and of a single question, in milliseconds."""
    tokenizer = train_tokenizer([QUESTION])
    rng = np.random.default_rng(0)
    images = [
        Image.fromarray(rng.integers(0, 256, (300, 400, 3), dtype=np.uint8))
        for _ in range(0, args.questions, args.questions_an_image)
    ]
    pairs = [
        {"image": images[number // args.questions_an_image], "question": QUESTION} for number in range(args.questions)
    ]

    def pipeline(model: PreTrainedModel, image_processor) -> VisualQuestionAnsweringPipeline:
        return VisualQuestionAnsweringPipeline(
            model.eval(), tokenizer=tokenizer, image_processor=image_processor, device="cpu"
        )

    config = AttentionVQAConfig(
        backbone_config=MobileNetV2Config(), vocab_size=len(tokenizer), num_labels=args.answers
    )
    ours = pipeline(
        AttentionVQAForQuestionAnswering(config),
        pillow_image_processor("ViTImageProcessor")(size={"height": 224, "width": 224}),
    )
    vilt = pipeline(
        ViltForQuestionAnswering(ViltConfig(num_labels=args.answers)), pillow_image_processor("ViltImageProcessor")()
    )
    times = medians(
        {
            "ViLT, batch": lambda: vilt(pairs, batch_size=args.questions),
            "AttentionVQA, batch": lambda: ours(pairs, batch_size=args.questions),
            "ViLT, alone": lambda: vilt(**pairs[0]),
            "AttentionVQA, alone": lambda: ours(**pairs[0]),
        },
        args.repeats,
    )
    for name in ("ViLT", "AttentionVQA"):
        batch, alone = (
            1000 * count / times[f"{name}, {case}"] for count, case in ((args.questions, "batch"), (1, "alone"))
        )
        print(f"{name}: {batch:.1f} questions a second in a batch of {args.questions}, {alone:.1f} alone")
    return times, {
        "ViLT, batch / AttentionVQA, batch": (5.0, None),
        "ViLT, alone / AttentionVQA, alone": (None, None),
    }
