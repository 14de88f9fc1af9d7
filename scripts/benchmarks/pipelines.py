"""The pipelines of a translator, a captioner and an answerer, and the same models' `generate()` and `decode()`."""

import argparse
from functools import partial

import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BlipConfig,
    BlipForConditionalGeneration,
    BlipForQuestionAnswering,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
    pipeline,
)

import hf_attention  # noqa: F401  (its pipelines)
from hf_attention.models.pipeline_generating import GeneratingPipeline
from hf_attention.models.versions import pillow_image_processor

from .timing import Targets, medians


SPECIAL = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8], help="numbers of texts or images")
    parser.add_argument("--tokens", type=int, default=20, help="tokens generated")
    parser.add_argument("--size", type=int, default=512, help="hidden size of the models")
    parser.add_argument("--layers", type=int, default=4, help="layers of each part of the models")


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of 1,000 words."""
    tokens = [*SPECIAL.values(), *(f"w{number}" for number in range(1000))]
    tokenizer = Tokenizer(models.WordLevel({token: id for id, token in enumerate(tokens)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL)


def run(args: argparse.Namespace) -> tuple[dict[str, float], Targets]:
    """Milliseconds of a call, and of what it is made of; their texts must be the same."""
    tokenizer = make_tokenizer()
    ids = {"vocab_size": len(tokenizer), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "sep_token_id": 2}
    sizes = {"hidden_size": args.size, "intermediate_size": 2 * args.size, "num_hidden_layers": args.layers}
    blip = BlipConfig(
        text_config={**ids, **sizes, "num_attention_heads": 8, "encoder_hidden_size": args.size},
        vision_config={**sizes, "num_attention_heads": 8, "image_size": 128},
    )
    t5 = T5Config(**ids, d_model=args.size, d_ff=2 * args.size, num_layers=args.layers, decoder_start_token_id=0)
    image_processor = pillow_image_processor("BlipImageProcessor")(size={"height": 128, "width": 128})
    images = {"tokenizer": tokenizer, "image_processor": image_processor, "device": "cpu"}
    writer = pipeline("translation", model=T5ForConditionalGeneration(t5).eval(), tokenizer=tokenizer, device="cpu")
    captioner = pipeline("image-to-text", model=BlipForConditionalGeneration(blip).eval(), **images)
    answerer = pipeline("visual-question-answering", model=BlipForQuestionAnswering(blip).eval(), **images)
    sentence = " ".join(f"w{number}" for number in range(20))
    picture = Image.radial_gradient("L").convert("RGB")
    # Never the end, whatever the random weights prefer; greedy, which 20 tokens take the least time for.
    generation = {"max_new_tokens": args.tokens, "suppress_tokens": [2], "num_beams": 1}

    @torch.no_grad()
    def direct(made: GeneratingPipeline, batch: int) -> list[str]:
        inputs = {}
        if made is not captioner:
            inputs |= tokenizer([sentence] * batch, return_tensors="pt", padding=True, return_token_type_ids=False)
        if made is not writer:
            inputs |= image_processor([picture] * batch, return_tensors="pt")
        return tokenizer.batch_decode(made.model.generate(**inputs, **generation), skip_special_tokens=True)

    def through_pipeline(made: GeneratingPipeline, batch: int) -> list[str]:
        item = {writer: sentence, captioner: picture, answerer: {"image": picture, "question": sentence}}[made]
        answers = made([item] * batch, batch_size=batch, **generation)
        records = [answer if isinstance(answer, dict) else answer[0] for answer in answers]
        return [next(iter(record.values())) for record in records]

    functions, ratios = {}, {}
    for name, made in (("translation", writer), ("image-to-text", captioner), ("vqa", answerer)):
        for batch in args.batches:
            if through_pipeline(made, batch) != direct(made, batch):
                raise RuntimeError(f"The pipeline of {name} and generate() disagree (batch {batch}).")
            case = f"{name}, batch {batch}"
            functions |= {f"pipeline, {case}": partial(through_pipeline, made, batch)}
            functions |= {f"generate() and decode(), {case}": partial(direct, made, batch)}
            ratios[f"pipeline, {case} / generate() and decode(), {case}"] = (None, 1.03)
    return medians(functions, args.repeats), ratios
