"""A tiny running text, its tokenizer, and language models of it."""

import torch
from transformers import PreTrainedTokenizerFast

from hf_attention import RecurrentLMConfig, RecurrentLMForCausalLM
from hf_attention.training.data.tokenization import for_running_text, train_tokenizer


TEXTS = ["a b c", "b <unk> a c c", "d", "a a b d c", "c b", "d d a b c a"] * 4


def make_tokenizer() -> PreTrainedTokenizerFast:
    return for_running_text(train_tokenizer(TEXTS, "space"))


def make_model(tokenizer: PreTrainedTokenizerFast, attention_type: str | None) -> RecurrentLMForCausalLM:
    """A model that is surer of its words than a new one."""
    config = RecurrentLMConfig(
        vocab_size=len(tokenizer),
        embedding_size=5,
        hidden_size=6,
        attention_size=4,
        attention_type=attention_type,
        attention_order="after_rnn" if attention_type == "general" else "before_rnn",
        attention_window=4,
    )
    model = RecurrentLMForCausalLM(config).eval()
    with torch.no_grad():
        model.lm_head.weight.mul_(8)
    return model
