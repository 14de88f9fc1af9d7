"""Words that never follow another in training are left out of its loss."""

import pytest
import torch
from accelerate import Accelerator
from common.factories import END, FACTORIES, START, ModelFactory

from hf_attention import RecurrentLMConfig, RecurrentLMForCausalLM
from hf_attention.training.loop.absent_words import AbsentWordsObjective


FACTORIES = [factory for factory in FACTORIES if factory.name in ("captioner", "seq2seq")]
LABELS = torch.tensor([[5, 6, 7, 8, END], [9, 6, END, -100, -100]])


@pytest.fixture(params=FACTORIES, ids=lambda factory: factory.name)
def factory(request: pytest.FixtureRequest) -> ModelFactory:
    return request.param


def test_the_loss_is_that_of_a_choice_among_the_other_words(factory: ModelFactory) -> None:
    model = factory.make_model()
    batch = {**factory.make_inputs(2), "labels": LABELS}
    inputs = torch.tensor([[START, 5, 6, 7, 8], [START, 9, 6, END, 0]])
    logits = model(**factory.make_inputs(2), decoder_input_ids=inputs).logits
    absent = torch.zeros(logits.shape[-1], logits.shape[-1], dtype=torch.bool)
    absent[6, [7, 8, 10]] = absent[START, 4] = True
    expected = 0.0
    for row, words in enumerate(LABELS.tolist()):
        for step, word in enumerate(words):
            if word == -100:
                continue
            # What a text says after all is never left out.
            choices = [i for i in range(len(absent)) if i == word or not absent[inputs[row, step], i]]
            expected -= logits[row, step, choices].log_softmax(-1)[choices.index(word)].item()
    objective = AbsentWordsObjective(Accelerator(cpu=True), absent)
    torch.testing.assert_close(objective(model, batch, 3).item(), expected / 3, rtol=1e-5, atol=1e-5)
    nothing = AbsentWordsObjective(Accelerator(cpu=True), torch.zeros_like(absent))
    torch.testing.assert_close(nothing(model, batch, 8), model(**batch, num_items_in_batch=8).loss)


@pytest.mark.parametrize("name", ["label_smoothing", "doubly_stochastic_penalty"])
def test_what_the_loss_does_not_know_is_refused(name: str) -> None:
    [factory] = [factory for factory in FACTORIES if factory.name == "captioner"]
    model = factory.make_model(**{name: 0.1})
    objective = AbsentWordsObjective(Accelerator(cpu=True), torch.zeros(1, 1, dtype=torch.bool))
    with pytest.raises(ValueError, match=f"`{name}` must be 0 .*, got 0.1"):
        objective(model, {**factory.make_inputs(2), "labels": LABELS}, 1)


def test_weights_of_tokens_are_refused() -> None:
    factory = FACTORIES[0]
    objective = AbsentWordsObjective(Accelerator(cpu=True), torch.zeros(1, 1, dtype=torch.bool))
    batch = {**factory.make_inputs(2), "labels": LABELS, "token_weights": torch.ones(LABELS.shape)}
    with pytest.raises(ValueError, match="no `token_weights`"):
        objective(factory.make_model(), batch, 1)


def test_a_model_without_an_encoder_is_refused() -> None:
    model = RecurrentLMForCausalLM(RecurrentLMConfig(vocab_size=12, embedding_size=4, hidden_size=4))
    objective = AbsentWordsObjective(Accelerator(cpu=True), torch.zeros(1, 1, dtype=torch.bool))
    with pytest.raises(ValueError, match="encoder and decoder only, got a RecurrentLM"):
        objective(model, {"labels": LABELS}, 1)
