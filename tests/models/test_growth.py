"""Nothing grows faster than its mathematics: what the models do is linear in every length and number."""

from collections.abc import Callable

import pytest
import torch
from common.counting import Counted, growth
from common.every_model import MODELS, Example, over_every_model
from common.factories import END, FACTORIES, ModelFactory, make_tokens, over_encoder_decoders, set_bias

from hf_attention import fast


# Twice as much at twice the size; the first steps may cost a little less than the others.
LINEAR = 2.05
# Backbones read no target.
GENERATING = [name for name in MODELS if not name.startswith("vqa_") and not name.endswith(("_vit", "_resnet"))]
EVERYTHING = {"output_attentions": True, "output_hidden_states": True, "output_scores": True}
WAYS = {"greedy": {}, "beam": {"num_beams": 3, "return_dict_in_generate": True, **EVERYTHING}}


def assert_linear(found: dict[str, float]) -> None:
    assert max(found.values()) < LINEAR, found


@pytest.mark.parametrize("way", WAYS)
@over_every_model(*GENERATING)
def test_generation_is_linear_in_the_target(make_example: Callable[[], Example], way: str) -> None:
    model, inputs = make_example()
    set_bias(model, model.config.eos_token_id, -1e4)

    def generate(tokens: int) -> None:
        model.generate(**inputs, max_new_tokens=tokens, **WAYS[way])

    assert_linear(growth(model, generate, 5))


@over_every_model(*GENERATING)
def test_training_is_linear_in_the_target(make_example: Callable[[], Example]) -> None:
    model, inputs = make_example()
    model.train()

    def step(tokens: int) -> None:
        labels = make_tokens(3, tokens)
        given = inputs if model.config.is_encoder_decoder else {"input_ids": labels}
        model(**given, labels=labels).loss.backward()
        model.zero_grad()

    assert_linear(growth(model, step, 5))


def with_positions(factory: ModelFactory, positions: int, items: int = 3) -> dict[str, torch.Tensor]:
    """The inputs of a factory, with a memory of so many positions."""
    inputs = factory.make_inputs(items)
    content = inputs[factory.content]
    repeats = [1, -(-positions // content.shape[1]), *[1] * (content.ndim - 2)]
    content = content.repeat(repeats)[:, :positions]
    inputs[factory.content] = content if content.is_floating_point() else content.clamp(min=END + 1)
    inputs[factory.mask] = torch.ones(items, positions, dtype=torch.long)
    return inputs


@pytest.mark.parametrize("way", ["training", "greedy", "beam"])
@over_encoder_decoders
def test_linear_in_the_memory(factory: ModelFactory, way: str) -> None:
    model = factory.make_model().train(way == "training")

    def run(positions: int) -> None:
        inputs = with_positions(factory, positions)
        if way == "training":
            # Where gradients flow, PyTorch's own packed layers cut each step out of the whole.
            with fast.enable("reading"):
                model(**inputs, labels=make_tokens(3, 4)).loss.backward()
        else:
            model.generate(**inputs, max_new_tokens=4, **WAYS[way])

    assert_linear(growth(model, run, 8))


@pytest.mark.parametrize("factory", FACTORIES, ids=lambda factory: factory.name)
def test_linear_in_the_beams(factory: ModelFactory) -> None:
    model = factory.make_model()
    set_bias(model, model.config.eos_token_id, -1e4)

    def generate(beams: int) -> None:
        model.generate(**factory.make_inputs(3), max_new_tokens=4, num_beams=beams)

    assert_linear(growth(model, generate, 2))


@over_encoder_decoders
@pytest.mark.parametrize("several", [{"num_beams": 4}, {"do_sample": True, "num_return_sequences": 4}])
def test_the_memory_is_not_copied_for_each_beam(factory: ModelFactory, several: dict) -> None:
    model, inputs = factory.make_model(), factory.make_inputs(3)
    outputs = model.generate(**inputs, max_new_tokens=4, return_dict_in_generate=True, **several)
    assert outputs.past_key_values.state.hidden[0].shape[0] == 12
    assert all(part is None or part.shape[0] == 3 for part in outputs.past_key_values.memory)


@pytest.mark.parametrize("factory", FACTORIES, ids=lambda factory: factory.name)
def test_linear_in_the_vocabulary(factory: ModelFactory) -> None:
    """Of a training step, and of greedy search."""
    counts = []
    for vocabulary in (50, 100, 200):
        separate = {"source_vocab_size": 20} if "source_vocab_size" in factory.settings else {}
        model = factory.make_model(vocab_size=vocabulary, **separate)
        inputs = factory.make_inputs(3)
        with Counted(model) as counted:
            model.generate(**inputs, max_new_tokens=4)
            given = inputs if factory.has_encoder else {"input_ids": make_tokens(3, 4)}
            model.train()(**given, labels=make_tokens(3, 4)).loss.backward()
        counts.append(counted.elements)
    assert counts[2] - counts[1] < LINEAR * (counts[1] - counts[0])


def test_what_is_quadratic_is_seen() -> None:
    """The counting itself: of elements, and of a loop over what came before."""
    from hf_attention.models.unknown_words import replace_unknown_words

    [factory] = [factory for factory in FACTORIES if factory.name == "captioner"]
    model = factory.make_model()

    def run(size: int) -> None:
        for length in range(size):
            torch.ones(length).cumsum(0)
            replace_unknown_words(["<unk>"] * length, torch.ones(length, 1), ["word"])

    assert min(growth(model, run, 16).values()) > 3.5
