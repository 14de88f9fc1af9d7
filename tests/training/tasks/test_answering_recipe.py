"""With the options of the model that `scripts/train_vqa.py` has when none are given, it learns to compare."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import ResNetConfig

from hf_attention import AttentionVQAConfig, AttentionVQAForQuestionAnswering
from hf_attention.scenes.scene import COLOURS, GROUNDS, SHAPES, Scene, SceneObject
from hf_attention.training.tasks.answering.arguments import DEFAULTS, AnsweringFieldsArguments


KINDS, REGIONS, STEPS = 6, 4, 500
WHAT_COLOUR, WHAT_SHAPE, IS_IT = 1, 2, 3
FIRST_COLOUR, FIRST_SHAPE, VOCABULARY = 4, 4 + KINDS, 4 + 2 * KINDS
NO, YES, ANSWERS = 2 * KINDS, 2 * KINDS + 1, 2 * KINDS + 2
SIZES = dict.fromkeys(("memory_size", "encoder_hidden_size", "encoder_embedding_size", "attention_size"), 64)


class Asked(NamedTuple):
    """Questions about pictures of one object: the colour, the shape, or "is it a red circle ?"."""

    inputs: dict[str, torch.Tensor]
    answers: torch.Tensor
    compares: torch.Tensor


def ask(count: int, generator: torch.Generator) -> Asked:
    def draw(number: int) -> torch.Tensor:
        return torch.randint(number, (count,), generator=generator)

    colour, shape = draw(KINDS), draw(KINDS)
    regions = 0.5 * torch.randn(count, REGIONS, 2 * KINDS, generator=generator)
    regions[torch.arange(count), draw(REGIONS)] += 2 * torch.cat(
        [F.one_hot(each, KINDS) for each in (colour, shape)], 1
    )
    # Every second one asks for what is there, the others for another colour or another shape.
    wrong, others = draw(4), 1 + draw(KINDS - 1)
    named_colour = torch.where(wrong == 0, (colour + others) % KINDS, colour)
    named_shape = torch.where(wrong == 1, (shape + others) % KINDS, shape)
    words = torch.stack([torch.full((count,), IS_IT), FIRST_COLOUR + named_colour, FIRST_SHAPE + named_shape], 1)
    answers = torch.where(wrong < 2, NO, YES)
    kind = draw(4)
    for number, word, answer in ((0, WHAT_COLOUR, colour), (1, WHAT_SHAPE, KINDS + shape)):
        words[kind == number] = word
        answers = torch.where(kind == number, answer, answers)
    return Asked({"input_ids": words, "region_features": regions}, answers, kind > 1)


def right_answers(**settings) -> tuple[float, float]:
    """After a short training: the share of right answers about unseen pictures, to other questions and to these."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    recipe = {**AnsweringFieldsArguments().config_kwargs(), **SIZES, **settings}
    config = AttentionVQAConfig(vocab_size=VOCABULARY, region_size=2 * KINDS, num_labels=ANSWERS, **recipe)
    model = AttentionVQAForQuestionAnswering(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, STEPS)
    for _ in range(STEPS):
        asked = ask(128, generator)
        loss = model(**asked.inputs, labels=asked.answers).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimizer.step()
        schedule.step()
    asked = ask(2000, generator)
    with torch.no_grad():
        right = model.eval()(**asked.inputs).logits.argmax(-1) == asked.answers
    return right[~asked.compares].float().mean().item(), right[asked.compares].float().mean().item()


def test_the_recipe_learns_to_compare() -> None:
    named, compared = right_answers()
    assert named > 0.95 and compared > 0.9


def test_glimpses_beside_the_question_do_not() -> None:
    """Of a layer over both, side by side: it names what it sees, and compares nothing in this time."""
    named, compared = right_answers(attention_form="glimpses")
    assert named > 0.95 and compared < 0.7


@pytest.mark.slow
def test_heavy_dropout_takes_away_what_is_compared() -> None:
    _, compared = right_answers(joint_dropout=0.5, question_dropout=0.5)
    assert compared < 0.8


def draw_shapes(count: int, first: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures of one object each, `(count, 3, 64, 64)`, and the shapes."""
    pictures, shapes = [], []
    for number in range(first, first + count):
        rng = np.random.default_rng(number)
        shape, side = int(rng.integers(KINDS)), int(rng.integers(14, 28))
        left, top = rng.integers(1, 64 - side, size=2).tolist()
        box = (left, top, left + side, top + side)
        thing = SceneObject(list(SHAPES)[shape], list(COLOURS)[rng.integers(KINDS)], "small", box)
        pictures.append(np.asarray(Scene((thing,), GROUNDS[number % len(GROUNDS)], 64, (0, 0, number)).draw()))
        shapes.append(shape)
    pixels = torch.tensor(np.stack(pictures)).permute(0, 3, 1, 2) / 127.5 - 1
    return pixels, torch.tensor(shapes)


@pytest.mark.slow
def test_a_backbone_from_nothing_learns_shapes_at_the_default_rate() -> None:
    """Of six kinds, from one look at each of 3,600 pictures."""
    torch.manual_seed(0)
    backbone = ResNetConfig(embedding_size=32, hidden_sizes=[32, 64], depths=[1, 1], layer_type="basic")
    fields = AnsweringFieldsArguments().config_kwargs() | {"backbone_config": backbone, "num_regions": 64}
    fields |= {"freeze_backbone": False, "freeze_batch_norms": False}
    model = AttentionVQAForQuestionAnswering(AttentionVQAConfig(vocab_size=9, num_labels=KINDS, **fields))
    optimizer = torch.optim.AdamW(model.parameters(), lr=DEFAULTS["learning_rate"], weight_decay=0.01)
    question = torch.tensor([[4, 5, 6, 7, 8]])
    pixels, shapes = draw_shapes(3600, first=0)
    for rows in torch.arange(3600).split(6):
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(question.expand(6, -1), pixel_values=pixels[rows], labels=shapes[rows]).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimizer.step()
    pixels, shapes = draw_shapes(300, first=3600)
    with torch.no_grad():
        named = model.eval()(question.expand(300, -1), pixel_values=pixels).logits.argmax(-1)
    assert (named == shapes).float().mean() > 0.4
