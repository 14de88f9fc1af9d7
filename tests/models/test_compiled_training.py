"""Training with `torch.compile`: the same gradients, and no program for each length."""

from collections.abc import Callable

import pytest
import torch
from common.factories import SEQ2SEQ, make_tokens
from common.steps import Step, over_steps, without_dropout
from torch.testing import assert_close
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def gradients(model, loss: torch.Tensor) -> list[torch.Tensor | None]:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [loss, *torch.autograd.grad(loss, trained, allow_unused=True)]


@pytest.mark.slow
@over_steps
def test_gradients_are_equal_when_compiled(make_step: Callable[[], Step]) -> None:
    model, inputs = make_step()
    without_dropout(model)
    expected = gradients(model, model(**inputs).loss)
    compiled = torch.compile(model, backend="aot_eager")
    assert_close(gradients(model, compiled(**inputs).loss), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_gradients_are_equal_with_checkpoints() -> None:
    model = without_dropout(SEQ2SEQ.make_model())
    inputs = {**SEQ2SEQ.make_inputs(3), "labels": make_tokens(3, 5)}
    expected = gradients(model, model(**inputs).loss)
    model.gradient_checkpointing_enable()
    compiled = torch.compile(model, backend="aot_eager")
    assert_close(gradients(model, compiled(**inputs).loss), expected, rtol=1e-4, atol=1e-5)


def test_a_length_is_no_program_of_its_own() -> None:
    model, inputs, programs = SEQ2SEQ.make_model().train(), SEQ2SEQ.make_inputs(3), []

    def note(graph, inputs):
        programs.append(graph)
        return graph.forward

    compiled, counts = torch.compile(model, backend=note), []
    for length in range(4, 12):
        labels = make_tokens(3, length)
        assert_close(
            gradients(model, compiled(**inputs, labels=labels).loss),
            gradients(model, model(**inputs, labels=labels).loss),
        )
        counts.append(len(programs))
    assert counts[0] > 0
    assert counts[-1] == counts[1], f"programs after each length: {counts}"


@pytest.mark.slow
def test_the_trainer_compiles(tmp_path) -> None:
    examples = [
        {"input_ids": make_tokens(1, 5)[0], "labels": make_tokens(1, length)[0]} for length in (5, 5, 7, 7, 6, 6)
    ]
    losses = []
    for settings in ({}, {"torch_compile": True, "torch_compile_backend": "aot_eager"}):
        arguments = Seq2SeqTrainingArguments(
            tmp_path, per_device_train_batch_size=1, num_train_epochs=2, report_to=[], use_cpu=True, **settings
        )
        model = SEQ2SEQ.make_model()
        trainer = Seq2SeqTrainer(model, arguments, train_dataset=examples, eval_dataset=examples[:2])
        losses.append((trainer.train().training_loss, trainer.evaluate()["eval_loss"]))
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
