"""The perplexity of a stream, of sentences and of windows, against a sum by hand."""

import math

import pytest
import torch
from accelerate import Accelerator
from common.running_text import TEXTS, make_model, make_tokenizer
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from hf_attention import RecurrentLMForCausalLM
from hf_attention.metrics.perplexity.perplexity import TextPerplexity, WindowPerplexity
from hf_attention.metrics.running_text import in_columns, stream


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return make_tokenizer()


@pytest.fixture(params=[None, "additive", "general"], ids=str)
def model(request, tokenizer: PreTrainedTokenizerFast) -> RecurrentLMForCausalLM:
    return make_model(tokenizer, request.param)


def losses_by_hand(model: RecurrentLMForCausalLM, tokens: torch.LongTensor) -> torch.Tensor:
    """In one go, with the logits of all steps."""
    with torch.no_grad():
        log_probabilities = model(tokens[None, :-1]).logits[0].double().log_softmax(-1)
    return -log_probabilities.gather(-1, tokens[1:, None])[:, 0]


@pytest.mark.parametrize("columns", [1, 3, 7])
def test_columns_hold_every_token_once_and_its_successor(columns: int):
    tokens = torch.arange(10, 33)
    inputs, targets = in_columns(tokens, columns)
    assert inputs.shape == targets.shape == (columns, math.ceil(22 / columns))
    real = targets != -100
    assert targets[real].equal(tokens[1:])
    assert inputs[real].equal(tokens[:-1])


@pytest.mark.parametrize("segment_length", [1, 7, 1000])
def test_perplexity_of_a_stream(model, tokenizer, segment_length: int):
    tokens = stream(TEXTS, tokenizer)
    scores = TextPerplexity(TEXTS, tokenizer, Accelerator(cpu=True), segment_length=segment_length)(model)
    assert scores["tokens"] == len(tokens) - 1
    assert scores["perplexity"] == pytest.approx(losses_by_hand(model, tokens).mean().exp().item(), rel=1e-6)
    assert scores["loss"] == pytest.approx(math.log(scores["perplexity"]))


def test_perplexity_in_columns_and_sentence_by_sentence(model, tokenizer):
    tokens = stream(TEXTS, tokenizer)
    size = math.ceil((len(tokens) - 1) / 3)
    parts = [losses_by_hand(model, tokens[start : start + size + 1]) for start in range(0, len(tokens) - 1, size)]
    scores = TextPerplexity(TEXTS, tokenizer, Accelerator(cpu=True), columns=3, segment_length=5)(model)
    assert scores["loss"] == pytest.approx(torch.cat(parts).mean().item(), rel=1e-6)

    parts = [losses_by_hand(model, stream([text], tokenizer)) for text in TEXTS]
    scores = TextPerplexity(TEXTS, tokenizer, Accelerator(cpu=True), columns=4, reset_state=True)(model)
    assert scores["loss"] == pytest.approx(torch.cat(parts).mean().item(), rel=1e-6)


def test_windows_of_another_model(tokenizer):
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=8, n_layer=1, n_head=2, n_positions=200)
    model = GPT2LMHeadModel(config).eval()
    tokens = stream(TEXTS, tokenizer)
    number = len(tokens) - 1
    for stride in (1, 10, number):
        scores = WindowPerplexity(tokens, torch.device("cpu"), context=number, stride=stride)(model)
        assert scores["loss"] == pytest.approx(losses_by_hand(model, tokens).mean().item(), rel=1e-5)
    expected = [losses_by_hand(model, tokens[max(stop - 5, 0) : stop + 1])[-1] for stop in range(1, number + 1)]
    scores = WindowPerplexity(tokens, torch.device("cpu"), context=5, stride=1)(model)
    assert scores["loss"] == pytest.approx(torch.stack(expected).mean().item(), rel=1e-5)
    for wrong in ({"context": 5, "stride": 6}, {"context": 5, "stride": 0}):
        with pytest.raises(ValueError, match="stride"):
            WindowPerplexity(tokens, torch.device("cpu"), **wrong)
