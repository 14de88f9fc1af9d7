"""R-Drop: two passes of a batch, and how much they differ."""

import pytest
import torch
from accelerate import Accelerator
from common.factories import END, FACTORIES, START, ModelFactory

from hf_attention import RecurrentLMConfig, RecurrentLMForCausalLM
from hf_attention.training.loop.r_drop import RDropObjective


FACTORIES = [factory for factory in FACTORIES if factory.name in ("captioner", "seq2seq")]
LABELS = torch.tensor([[5, 6, 7, 8, END], [9, 6, END, -100, -100]])
FED = torch.tensor([[START, 5, 6, 7, 8], [START, 9, 6, END, 0]])


@pytest.fixture(params=FACTORIES, ids=lambda factory: factory.name)
def factory(request: pytest.FixtureRequest) -> ModelFactory:
    return request.param


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_without_dropout_it_is_the_models_own_loss(factory: ModelFactory, label_smoothing: float) -> None:
    model = factory.make_model(label_smoothing=label_smoothing).train()
    batch = {**factory.make_inputs(2), "labels": LABELS}
    expected = model(**batch, num_items_in_batch=8).loss
    torch.testing.assert_close(RDropObjective(Accelerator(cpu=True), 5.0)(model, batch, 8), expected)


def test_it_is_the_mean_loss_and_the_divergence_of_two_passes(factory: ModelFactory) -> None:
    """A plain loop over the targets, on the passes that the same seed gives a batch of twice the rows."""
    model = factory.make_model(hidden_dropout=0.5).train()
    inputs = factory.make_inputs(2)
    torch.manual_seed(0)
    loss = RDropObjective(Accelerator(cpu=True), 3.0)(model, {**inputs, "labels": LABELS}, 7)
    torch.manual_seed(0)
    twice = {name: torch.cat([value, value]) for name, value in inputs.items()}
    logits = model(**twice, decoder_input_ids=torch.cat([FED, FED])).logits.double()
    expected = 0.0
    for row, words in enumerate(LABELS.tolist()):
        for step, word in enumerate(words):
            if word == -100:
                continue
            first, second = (logits[row + half, step].softmax(-1) for half in (0, 2))
            assert not torch.allclose(first, second)
            expected -= (first[word].log() + second[word].log()).item() / 2
            for p, q in ((first, second), (second, first)):
                expected += 3.0 / 4 * sum(a * (a / b).log() for a, b in zip(p, q, strict=True)).item()
    torch.testing.assert_close(loss.item(), expected / 7, rtol=1e-5, atol=1e-5)


def test_what_it_does_not_know_is_refused() -> None:
    [factory] = [factory for factory in FACTORIES if factory.name == "captioner"]
    objective = RDropObjective(Accelerator(cpu=True), 1.0)
    batch = {**factory.make_inputs(2), "labels": LABELS}
    with pytest.raises(ValueError, match="`doubly_stochastic_penalty` must be 0 .*, got 0.1"):
        objective(factory.make_model(doubly_stochastic_penalty=0.1), batch, 1)
    with pytest.raises(ValueError, match="no `token_weights`"):
        objective(factory.make_model(), {**batch, "token_weights": torch.ones(LABELS.shape)}, 1)
    model = RecurrentLMForCausalLM(RecurrentLMConfig(vocab_size=12, embedding_size=4, hidden_size=4))
    with pytest.raises(ValueError, match="encoder and decoder is needed, got a RecurrentLM"):
        objective(model, {"labels": LABELS}, 1)
