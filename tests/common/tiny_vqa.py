"""Tiny answering models of this package, with their processor."""

from collections.abc import Iterable

from transformers import PreTrainedModel, ViTImageProcessor

from common.tiny_captioner import IMAGE_SIZE, START, UNKNOWN, make_backbone_config, make_tokenizer, with_odd_weights
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
        **{"unk_token_id": UNKNOWN, "bos_token_id": START} | sizes | settings,
    )


def make_model(model_class: type[PreTrainedModel] = AttentionVQAForQuestionAnswering, **settings) -> PreTrainedModel:
    """An answering model of the sizes above."""
    return with_odd_weights(model_class(make_config(**settings)))


def make_processor(words: Iterable[str] = WORDS) -> AttentionVQAProcessor:
    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    return AttentionVQAProcessor(ViTImageProcessor(size=size), make_tokenizer(words))
