"""`output_hidden_states`: embeddings and the states of every layer, in the shapes that transformers documents."""

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from common import tiny_text_models
from common.every_model import Example, of_answers, of_factory, over_every_model
from common.factories import ModelFactory, make_tokens, over_models
from common.strategies import NEW_TOKENS, ONE_SEQUENCE, STRATEGIES
from torch import nn
from torch.testing import assert_close

import hf_attention.fast
from hf_attention.models import attention


LAYERS = 2
over_doors = pytest.mark.parametrize("is_fast", [True, False], ids=["fast", "plain"])


def door(is_fast: bool):
    return nullcontext() if is_fast else hf_attention.fast.disable()


def deep(name: str, **settings) -> Example:
    if name.startswith("seq2seq"):
        settings["encoder_num_hidden_layers"] = LAYERS
    return of_factory(name, num_hidden_layers=LAYERS, **settings)


def layer_by_layer(rnn: nn.RNNBase, words: torch.Tensor) -> list[torch.Tensor]:
    """One sequence, unpadded, of shape `(1, steps, size)`, through modules of one layer each."""
    states = []
    for number in range(rnn.num_layers):
        layer = type(rnn)(words.shape[-1], rnn.hidden_size, batch_first=True, bidirectional=rnn.bidirectional)
        layer.load_state_dict({name: getattr(rnn, name.replace("_l0", f"_l{number}")) for name in layer.state_dict()})
        words = layer.to(words.dtype)(words)[0]
        states.append(words)
    return states


@over_doors
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("settings", [{}, {"encoder_rnn_type": "lstm"}, {"memory_size": 9}])
@pytest.mark.parametrize("name", ["seq2seq", "seq2seq_deep"])
@torch.no_grad()
def test_the_layers_of_a_text_encoder(name: str, settings: dict, masked: bool, is_fast: bool) -> None:
    model, inputs = deep(name, **settings)
    encoder = model.double().get_encoder()
    mask = inputs.pop("attention_mask")
    mask = mask if masked else torch.ones_like(mask)
    with door(is_fast):
        given = {**inputs, "attention_mask": mask} if masked else inputs
        found = encoder(**given, output_hidden_states=True)
        assert encoder(**given).hidden_states is None
        assert_close(encoder(**given).last_hidden_state, found.last_hidden_state)
        assert_close(encoder(**given).initial_states, found.initial_states)
    assert len(found.hidden_states) == 1 + LAYERS
    for row, is_word in enumerate(mask.bool()):
        words = encoder.embed_tokens(inputs["input_ids"][row, is_word]).unsqueeze(0)
        for states, expected in zip(found.hidden_states, [words, *layer_by_layer(encoder.rnn, words)], strict=True):
            assert_close(states[row, is_word], expected[0])
    joined = [found.hidden_states[-1]]
    if encoder.config.encoder_skip_connection:
        joined.append(found.hidden_states[0])
    assert_close(found.last_hidden_state, torch.cat(joined, -1))


@over_doors
@torch.no_grad()
def test_the_layers_of_a_language_model(is_fast: bool) -> None:
    for settings in ({"attention_type": None}, {"attention_order": "after_rnn"}):
        model, inputs = deep("recurrent_lm", **settings)
        model.double()
        with door(is_fast):
            found = model(**inputs, output_hidden_states=True)
            assert_close(found.logits, model(**inputs).logits)
        words = model.get_input_embeddings()(inputs["input_ids"])
        for states, expected in zip(
            found.hidden_states, [words, *layer_by_layer(model.model.decoder.rnn, words)], strict=True
        ):
            assert_close(states, expected)


@over_doors
@pytest.mark.parametrize("layers", [1, LAYERS])
@over_models
@torch.no_grad()
def test_the_last_states_are_those_that_the_cache_keeps(factory: ModelFactory, layers: int, is_fast: bool) -> None:
    """And asking for them changes nothing."""
    for order in ("before_rnn", "after_rnn"):
        model = factory.make_model(num_hidden_layers=layers, attention_order=order)
        model, inputs = factory.to_double(model, factory.make_inputs(2))
        tokens = make_tokens(2, 4)
        given = {"decoder_input_ids": tokens} if factory.has_encoder else {"input_ids": tokens}
        with door(is_fast):
            outputs = model(**{**inputs, **given}, use_cache=True, output_hidden_states=True)
            assert_close(model(**{**inputs, **given}).logits, outputs.logits)
        name = "decoder_hidden_states" if factory.has_encoder else "hidden_states"
        states = outputs[name]
        assert [tuple(each.shape) for each in states] == [(2, 4, 6)] + [(2, 4, 8)] * layers
        assert_close(states[0], model.get_decoder().embed_tokens(tokens))
        for of_layer, kept in zip(states[1:], outputs.cache.state.hidden, strict=True):
            assert_close(of_layer[:, -1], kept)
        # By the configuration, and as a plain tuple.
        plain = model(**{**inputs, **given}, output_hidden_states=True, return_dict=False)
        model.config.output_hidden_states = True
        by_config = model(**{**inputs, **given})
        assert_close(by_config[name], states)
        assert any(isinstance(each, tuple) and len(each) == len(states) for each in plain)
        assert model(**{**inputs, **given}, output_hidden_states=False).get(name) is None


@pytest.mark.parametrize("strategy", STRATEGIES)
@over_models
@torch.no_grad()
def test_generated(factory: ModelFactory, strategy: str) -> None:
    """One tuple a step, as Bart and GPT-2 give; of each token what a teacher-forced pass has."""
    model = factory.make_model(num_hidden_layers=LAYERS)
    items = 1 if strategy in ONE_SEQUENCE else 2
    inputs, asked = factory.make_inputs(items), dict(STRATEGIES[strategy])
    if "assistant_model" in asked:
        asked["assistant_model"] = model if asked["assistant_model"] == "itself" else factory.make_model()
    torch.manual_seed(0)
    outputs = model.generate(
        **inputs,
        **asked,
        max_new_tokens=NEW_TOKENS,
        min_new_tokens=NEW_TOKENS,
        return_dict_in_generate=True,
        output_hidden_states=True,
    )
    name = "decoder_hidden_states" if factory.has_encoder else "hidden_states"
    steps = outputs[name]
    read_first = 1 if factory.has_encoder else inputs["input_ids"].shape[1]
    lengths = [each[0].shape[1] for each in steps]
    assert all(len(each) == 1 + LAYERS for each in steps)
    if asked.get("use_cache") is False:
        assert lengths == list(range(read_first, read_first + NEW_TOKENS))
        steps = [[layer[:, -1:] if number else layer for layer in each] for number, each in enumerate(steps)]
    else:
        assert lengths == [read_first] + [1] * (NEW_TOKENS - 1)
    if factory.has_encoder:
        expected = model.get_encoder()(**inputs, output_hidden_states=True).hidden_states
        assert_close(outputs.encoder_hidden_states, expected)
    if "num_beams" in asked:
        return
    found = [torch.cat(layer, 1) for layer in zip(*steps, strict=True)]
    rows = {k: v.repeat_interleave(len(outputs.sequences) // items, 0) for k, v in inputs.items()}
    tokens = outputs.sequences[:, :-1]
    given = {"decoder_input_ids": tokens} if factory.has_encoder else {"input_ids": tokens}
    assert_close(found, list(model(**{**rows, **given}, output_hidden_states=True)[name]), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_they_are_where_bart_has_them() -> None:
    bart = tiny_text_models.make_bart().eval()
    model, inputs = deep("seq2seq")
    for each in (bart, model):
        outputs = each(**inputs, decoder_input_ids=make_tokens(3, 4), output_hidden_states=True)
        assert [states.shape[:2] for states in outputs.encoder_hidden_states] == [(3, 5)] * (1 + LAYERS)
        assert [states.shape[:2] for states in outputs.decoder_hidden_states] == [(3, 4)] * (1 + LAYERS)
        asked = {"max_new_tokens": 3, "min_new_tokens": 3, "return_dict_in_generate": True}
        for strategy in ({"num_beams": 1}, {"num_beams": 2}):
            outputs = each.generate(**inputs, **asked, **strategy, output_hidden_states=True)
            assert [states.shape[:2] for states in outputs.encoder_hidden_states] == [(3, 5)] * (1 + LAYERS)
            rows = 3 * strategy["num_beams"]
            for step in outputs.decoder_hidden_states:
                assert [states.shape[:2] for states in step] == [(rows, 1)] * (1 + LAYERS)


@over_every_model("captioner", "captioner_vit", "captioner_resnet")
@torch.no_grad()
def test_an_image_has_those_of_its_backbone(make_example: Callable[[], Example]) -> None:
    model, inputs = make_example()
    encoder = model.get_encoder()
    *found, memory = model(
        **inputs, decoder_input_ids=make_tokens(3, 4), output_hidden_states=True
    ).encoder_hidden_states
    if encoder.backbone is None:
        expected = [inputs["region_features"]]
    else:
        expected = list(encoder.backbone(**inputs, output_hidden_states=True).hidden_states)
        assert len(expected) > 1
    assert_close(found, expected)
    assert_close(memory, encoder(**inputs).last_hidden_state)
    # A backbone that keeps them to itself.
    if encoder.backbone is not None and not encoder.config.backbone_layers:
        regions = encoder.extract_regions(inputs["pixel_values"])
        hook = encoder.backbone.register_forward_hook(lambda module, args, output: type(output)(output[0]))
        found = encoder(**inputs, output_hidden_states=True).hidden_states
        hook.remove()
        assert_close(found, (regions, memory))


@pytest.mark.parametrize("encoder_layers", [1, LAYERS])
@torch.no_grad()
def test_a_question_has_those_of_its_words(encoder_layers: int) -> None:
    settings = {"encoder_num_hidden_layers": encoder_layers}
    for model, inputs in (of_answers(**settings), of_factory("vqa", **settings)):
        generates = model.can_generate()
        given = {**inputs, "decoder_input_ids": make_tokens(3, 2)} if generates else inputs
        outputs = model(**given, output_hidden_states=True, output_attentions=True)
        found = outputs.encoder_hidden_states if generates else outputs.hidden_states
        assert [states.shape[:2] for states in found] == [inputs["input_ids"].shape] * (1 + encoder_layers)
        encoder = model.get_encoder()(**inputs, output_hidden_states=True, output_attentions=True)
        assert_close(found, encoder.hidden_states)
        assert_close(found[0], model.get_input_embeddings()(inputs["input_ids"]))
        assert_close(encoder.image_hidden_states[0], inputs["region_features"])
        words, *_ = model.get_encoder().question_encoder(inputs["input_ids"], inputs["attention_mask"])
        assert_close(found[-1], words)
        if generates:
            # The glimpses that `generate` gives, too.
            assert_close(outputs.encoder_attentions, encoder.attentions)
            generated = model.generate(**inputs, return_dict_in_generate=True, output_attentions=True)
            assert_close(generated.encoder_attentions, encoder.attentions)


@torch.no_grad()
def test_layers_that_cannot_be_read_are_refused() -> None:
    model, inputs = deep("seq2seq")
    quantised = torch.ao.quantization.quantize_dynamic(model, {nn.LSTM}, dtype=torch.qint8)
    given = {**inputs, "decoder_input_ids": make_tokens(3, 4)}
    quantised(**given)
    with pytest.raises(ValueError, match="quantised"):
        quantised(**given, output_hidden_states=True)


@over_models
def test_gradients_reach_what_is_returned(factory: ModelFactory) -> None:
    """As in transformers: of the embeddings and the top layer's states, and of maps where all steps run at once."""
    model, inputs = factory.make_model(attention_order="after_rnn"), factory.make_inputs(3)
    given = {"decoder_input_ids": make_tokens(3, 4)} if factory.has_encoder else {}
    if "region_features" in inputs:
        inputs["region_features"].requires_grad_()
    outputs = model(**inputs, **given, output_hidden_states=True, output_attentions=True)
    if factory.has_encoder:
        states = [*outputs.decoder_hidden_states, outputs.encoder_hidden_states[0], *outputs.cross_attentions]
        states += outputs.encoder_attentions or ()
    else:
        states = list(outputs.hidden_states)
    for each in states:
        each.retain_grad()
    outputs.logits.sin().sum().backward()
    assert all(each.grad is not None and each.grad.abs().sum() > 0 for each in states)


@pytest.mark.parametrize("attention_type", ["additive", "general", "scaled_dot"])
def test_the_gradient_of_a_map_is_that_of_its_definition(attention_type: str) -> None:
    """By finite differences: the attention gives other weights, a little away from those that it found."""
    model, inputs = of_factory("seq2seq", attention_type=attention_type, attention_order="after_rnn")
    model.double()
    given = {**inputs, "decoder_input_ids": make_tokens(3, 4), "output_attentions": True}
    outputs = model(**given)
    [weights] = outputs.cross_attentions
    weights.retain_grad()
    outputs.logits.sin().sum().backward()
    step = 1e-6 * torch.randn(weights.shape, dtype=torch.double, generator=torch.Generator().manual_seed(0))

    softmax, results = attention.masked_softmax, []
    for moved in (-step, step):
        of_scores = moved if attention_type == "scaled_dot" else moved.squeeze(1)  # heads are scored with heads
        with pytest.MonkeyPatch.context() as patch, torch.no_grad():
            patch.setattr(attention, "masked_softmax", lambda *args, by=of_scores: softmax(*args) + by)
            results.append(model(**given).logits.sin().sum())
    assert_close((results[1] - results[0]) / 2, (weights.grad * step).sum(), rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("form", ["stacked", "glimpses", "bilinear", "top_down"])
def test_gradients_reach_the_maps_of_a_question(form: str) -> None:
    model, inputs = of_answers(attention_form=form, joint_size=6)
    outputs = model(**inputs, output_attentions=True, output_hidden_states=True)
    # Of the words, their last states make the question's vector.
    returned = [*outputs.attentions, outputs.hidden_states[0]]
    for each in returned:
        each.retain_grad()
    outputs.logits.sin().sum().backward()
    assert all(each.grad is not None and each.grad.abs().sum() > 0 for each in returned)
