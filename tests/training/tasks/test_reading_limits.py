"""Scores are of as much of a text as the model was trained to read, which its tokenizer says."""

import pytest
import torch
from accelerate import Accelerator
from datasets import Dataset

from hf_attention import AttentionSeq2SeqConfig, AttentionSeq2SeqForConditionalGeneration
from hf_attention.models.special_tokens import special_token_ids
from hf_attention.training.data.tokenization import train_tokenizer
from hf_attention.training.tasks.translating.evaluation import TranslationEvaluator


@pytest.mark.parametrize("limit", [None, 3, 120])
def test_sources_are_cut_where_the_tokenizer_says(limit: int | None, caplog: pytest.LogCaptureFixture) -> None:
    words = [f"w{number}" for number in range(150)]
    tokenizer = train_tokenizer([" ".join(words)], "space")
    if limit is not None:
        tokenizer.model_max_length = limit
    sizes = {"embedding_size": 8, "hidden_size": 12, "encoder_hidden_size": 6, "attention_size": 8}
    config = AttentionSeq2SeqConfig(vocab_size=len(tokenizer), **special_token_ids(tokenizer), **sizes)
    model = AttentionSeq2SeqForConditionalGeneration(config).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=2.5, generator=generator)

    # They differ where a limit of 120 and more leaves them, and one of 3 does not.
    sources = [" ".join(words[:100]), " ".join([*words[:110], "w7"]), " ".join([*words[:110], "w9"]), "w5 w6"]
    pairs = Dataset.from_dict({"source": sources, "target": ["w1 w2"] * 4})
    evaluator = TranslationEvaluator(pairs, tokenizer, Accelerator(cpu=True), batch_size=3)
    found = evaluator.texts(model, max_length=9)

    kept = None if limit is None else limit - 1  # and the closing token
    ids = [[*tokenizer.convert_tokens_to_ids(text.split()[:kept]), tokenizer.eos_token_id] for text in sources]
    expected = [model.generate(torch.tensor([row]), max_length=9)[0] for row in ids]
    assert found == tokenizer.batch_decode(expected, skip_special_tokens=True)
    assert (found[1] == found[2]) == (limit == 3)
    warned = "3 of 4 sentences are longer than `max_source_length`, 3 tokens: they lose their end." in caplog.text
    assert warned == (limit == 3)
    if limit is None:
        assert not caplog.text
