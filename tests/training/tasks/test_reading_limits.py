"""Scores are of as much of a text as the model was trained to read, which its tokenizer says."""

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from common.scores import evaluate_model
from common.text_families import save_family
from common.tiny_vqa import make_model, make_processor
from datasets import Dataset
from transformers import AutoTokenizer
from transformers.tokenization_utils_base import VERY_LARGE_INTEGER

from hf_attention import AttentionSeq2SeqConfig, AttentionSeq2SeqForConditionalGeneration
from hf_attention.models.special_tokens import special_token_ids
from hf_attention.training.data.images import RegionSource
from hf_attention.training.data.tokenization import train_tokenizer
from hf_attention.training.tasks.answering.evaluation import AnsweringEvaluator
from hf_attention.training.tasks.answering.questions import Questions
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
    warned = "3 of 4 sources are longer than 3 tokens: they lose their end." in caplog.text
    assert warned == (limit == 3)
    if limit is None:
        assert not caplog.text


def test_questions_are_cut_where_the_tokenizer_says(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = make_processor().tokenizer
    regions = RegionSource(torch.randn(1, 5, 9, generator=torch.Generator().manual_seed(0)).numpy())
    texts = ["what colour is left of the circle", "what colour is"]
    questions = Questions(Dataset.from_dict({"number": [0]}), [0, 0], texts, [["two"]] * 2)
    model = make_model(backbone=None, region_size=9, answers=[f"a{number}" for number in range(50)]).eval()
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    long, short = AnsweringEvaluator(regions, questions, tokenizer, Accelerator(cpu=True)).answers(model)
    assert long != short and not caplog.text
    tokenizer.model_max_length = 4  # three words and the closing token
    assert AnsweringEvaluator(regions, questions, tokenizer, Accelerator(cpu=True)).answers(model) == [short] * 2
    assert "1 of 2 questions are longer than 4 tokens: they lose their end." in caplog.text


def test_a_model_is_scored_on_what_it_has_positions_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Also where its tokenizer knows no limit."""
    model = save_family("bart", tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(model, model_max_length=VERY_LARGE_INTEGER)
    tokenizer.save_pretrained(model)
    word = tokenizer.decode([max(tokenizer.all_special_ids) + 3]).strip()
    (tmp_path / "sources").write_text("\n".join([" ".join([word] * 400), word]))
    (tmp_path / "targets").write_text("\n".join([word, word]))
    evaluate_model("translation", model, files=[tmp_path / "sources", tmp_path / "targets"])
    assert "1 of 2 sources are longer than 300 tokens: they lose their end." in caplog.text
