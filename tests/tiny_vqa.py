"""Tiny answering models of this package, with their processor."""

from collections.abc import Iterable

import torch
from tiny_captioner import IMAGE_SIZE, make_backbone_config, make_tokenizer
from transformers import PreTrainedModel, ViTImageProcessor

from hf_attention import AttentionVQAConfig, AttentionVQAForQuestionAnswering, AttentionVQAProcessor


ANSWERS = ("red", "blue", "yes", "no", "two")
WORDS = "what colour is the circle square left of how many are there ? red blue yes no two".split()


def make_config(
    backbone: str | None = "vit", words: Iterable[str] = WORDS, answers: Iterable[str] = ANSWERS, **settings
) -> AttentionVQAConfig:
    sizes = {"embedding_size": 6, "hidden_size": 8, "attention_size": 5, "memory_size": 7, "encoder_hidden_size": 8}
    return AttentionVQAConfig(
        vocab_size=4 + len(list(words)),
        backbone_config=make_backbone_config(backbone),
        id2label=dict(enumerate(answers)),
        label2id={answer: number for number, answer in enumerate(answers)},
        **sizes | settings,
    )


def make_model(model_class: type[PreTrainedModel] = AttentionVQAForQuestionAnswering, **settings) -> PreTrainedModel:
    """Its weights are none that any initialisation would give."""
    model = model_class(make_config(**settings)).eval()
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(-0.9, 0.9) if tensor.ndim > 1 else tensor.uniform_(0.2, 0.9)
    return model


def make_processor(words: Iterable[str] = WORDS) -> AttentionVQAProcessor:
    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    return AttentionVQAProcessor(ViTImageProcessor(size=size), make_tokenizer(words))
