"""Scheduled sampling feeds the decoder words of its own, as many as asked for."""

import pytest
import torch
from accelerate import Accelerator
from common.factories import END, FACTORIES, START, ModelFactory

from hf_attention.training.loop.objective import Objective
from hf_attention.training.loop.scheduled_sampling import ScheduledSamplingObjective, mix_in_own_words


FACTORIES = [factory for factory in FACTORIES if factory.name in ("captioner", "seq2seq")]
LABELS = torch.tensor([[5, 6, 7, 8, END], [9, 10, END, -100, -100]])


@pytest.fixture(params=FACTORIES, ids=lambda factory: factory.name)
def factory(request: pytest.FixtureRequest) -> ModelFactory:
    return request.param


def make_batch(factory: ModelFactory, rows: int = 1) -> dict[str, torch.Tensor]:
    inputs = factory.make_inputs(2)
    return {name: value.repeat_interleave(rows, 0) for name, value in inputs.items()} | {
        "labels": LABELS.repeat_interleave(rows, 0)
    }


def test_without_own_words_it_is_teacher_forcing(factory: ModelFactory) -> None:
    model, batch = factory.make_model(), make_batch(factory)
    expected = torch.tensor([[START, 5, 6, 7, 8], [START, 9, 10, END, 0]])
    assert torch.equal(mix_in_own_words(model, batch, 0.0), expected)


def test_own_words_are_drawn_after_those_fed_so_far(factory: ModelFactory) -> None:
    """Of a model that is sure of itself they are those of greedy search, step by step without a cache."""
    model, batch = factory.make_model(), make_batch(factory)
    with torch.no_grad():
        model.lm_head.weight *= 1e4
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        tokens = torch.full((2, 1), START)
        for _ in range(LABELS.shape[1] - 1):
            logits = model(**inputs, decoder_input_ids=tokens).logits
            tokens = torch.cat([tokens, logits[:, -1:].argmax(-1)], 1)
    own = mix_in_own_words(model, batch, 1.0)
    is_fed = torch.cat([torch.ones(2, 1, dtype=torch.bool), LABELS[:, :-1] != -100], 1)
    assert torch.equal(own[is_fed], tokens[is_fed])
    assert (own[~is_fed] == model.config.pad_token_id).all()


def test_as_many_as_asked_for_and_as_likely(factory: ModelFactory) -> None:
    model, batch = factory.make_model(), make_batch(factory, rows=4000)
    first = mix_in_own_words(model, batch, 0.6)[:4000, 1]
    with torch.no_grad():
        inputs = factory.make_inputs(2)
        likely = model(**inputs, decoder_input_ids=torch.full((2, 1), START)).logits[0, -1].softmax(-1)
    expected = 0.6 * likely
    expected[5] += 0.4  # the target's word
    shares = torch.bincount(first, minlength=len(likely)) / len(first)
    torch.testing.assert_close(shares, expected, rtol=0, atol=0.04)


def test_the_share_rises_with_the_epochs_and_survives_a_checkpoint(factory: ModelFactory) -> None:
    objective = ScheduledSamplingObjective(Accelerator(cpu=True), 0.5, num_epochs=3)
    shares = []
    for epoch in range(3):
        objective.begin_epoch(epoch)
        shares.append(objective.probability)
    assert shares == [0.0, 0.25, 0.5]
    resumed = ScheduledSamplingObjective(Accelerator(cpu=True), 0.5, num_epochs=3)
    resumed.load_state_dict(objective.state_dict())
    assert resumed.probability == 0.5

    model, batch = factory.make_model().train(), make_batch(factory)
    objective.begin_epoch(0)
    assert objective(model, batch, 8) == Objective()(model, batch, 8)
    objective.begin_epoch(2)
    loss = objective(model, batch, 8)
    loss.backward()
    assert loss != Objective()(model, batch, 8)


def test_a_share_is_between_none_and_all() -> None:
    with pytest.raises(ValueError, match=r"`probability` must lie in \[0, 1\], got 1.5"):
        ScheduledSamplingObjective(Accelerator(cpu=True), 1.5, 3)
