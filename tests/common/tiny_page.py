"""Tiny models of the three kinds for the web page, with their processors and tokenizers."""

from pathlib import Path

import torch
from transformers import PreTrainedModel

from common import tiny_captioner, tiny_vqa
from hf_attention import (
    AttentionSeq2SeqConfig,
    AttentionSeq2SeqForConditionalGeneration,
    AttentionVQAForConditionalGeneration,
)


MAX_NEW_TOKENS = 8
SENTENCE = "a small red circle left of the blue square"


def make_translator() -> PreTrainedModel:
    config = AttentionSeq2SeqConfig(
        vocab_size=4 + len(tiny_captioner.WORDS),
        embedding_size=6,
        hidden_size=8,
        encoder_hidden_size=8,
        attention_size=5,
        pad_token_id=tiny_captioner.PAD,
        unk_token_id=tiny_captioner.UNKNOWN,
        bos_token_id=tiny_captioner.START,
        eos_token_id=tiny_captioner.END,
        decoder_start_token_id=tiny_captioner.START,
    )
    return tiny_captioner.with_odd_weights(AttentionSeq2SeqForConditionalGeneration(config))


def save_models(root: Path) -> dict[str, str]:
    """Folders, by what the models do: `captioner`, `answerer`, `writer` (of answers) and `translator`."""
    torch.manual_seed(0)
    parts = {
        "captioner": (tiny_captioner.make_model(), tiny_captioner.make_processor()),
        "answerer": (tiny_vqa.make_model(), tiny_vqa.make_processor()),
        "writer": (tiny_vqa.make_model(AttentionVQAForConditionalGeneration), tiny_vqa.make_processor()),
        "translator": (make_translator(), tiny_captioner.make_tokenizer()),
    }
    for name, (model, processor) in parts.items():
        if name != "answerer":
            model.generation_config.max_new_tokens = MAX_NEW_TOKENS
        model.save_pretrained(root / name)
        processor.save_pretrained(root / name)
    return {name: str(root / name) for name in parts}
