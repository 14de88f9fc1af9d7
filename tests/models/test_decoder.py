import pytest
import torch
from common.configurations import every_configuration, name_of
from common.factories import (
    FACTORIES,
    VOCABULARY,
    left_padded,
    make_tokens,
    memory_mask,
    over_configurations,
    over_encoder_decoders,
    over_models,
    prompt_length,
    read,
    repeat,
    take,
)
from common.reference import ReferenceDecoder
from torch._dynamo.testing import CompileCounterWithBackend
from torch.testing import assert_close
from transformers import PreTrainedModel

from hf_attention.models.cache import RecurrentCache


EXACT = {"rtol": 1e-9, "atol": 1e-11}
CLOSE = {"rtol": 1e-5, "atol": 2e-6}


def weighted_sum(tensors: list[torch.Tensor], mask: torch.Tensor) -> torch.Tensor:
    """A scalar in which every element at a real step has another weight."""
    total = 0
    for tensor in tensors:
        generator = torch.Generator().manual_seed(tensor.ndim)
        weights = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
        if tensor.ndim == 3:  # logits, else attention weights (rows, heads, target, positions)
            total = total + (tensor * weights * mask.unsqueeze(-1)).sum()
        else:
            total = total + (tensor * weights * mask[:, None, :, None]).sum()
    return total


def check_against_reference(factory, settings: dict, padded: bool) -> None:
    model, inputs = factory.to_double(factory.make_model(**settings), factory.make_inputs(2))
    tokens, mask, memory = make_tokens(rows=4, length=4), None, None
    if padded:
        tokens, mask = left_padded(tokens)
    if factory.has_encoder:
        with torch.no_grad():
            encoder_outputs = model.get_encoder()(**inputs)
        memory = encoder_outputs.last_hidden_state.requires_grad_()
        inputs = {"encoder_outputs": encoder_outputs}
        logits, maps = ReferenceDecoder(model)(memory, encoder_outputs.memory_mask, tokens, mask)
    else:
        logits, maps = ReferenceDecoder(model).behind(inputs["input_ids"].repeat_interleave(2, 0), tokens, mask)
    outputs = read(model, inputs, tokens, mask, output_attentions=True)
    results, expected = [outputs.logits, *outputs.cross_attentions], [logits] if maps is None else [logits, maps]
    assert len(results) == len(expected)
    real = torch.ones_like(tokens) if mask is None else mask
    for result, reference in zip(results, expected, strict=True):
        steps = real.bool()
        if result.ndim == 4:
            result, reference = result.transpose(1, 2), reference.transpose(1, 2)
        assert_close(result[steps], reference[steps], **EXACT, msg=lambda m: f"{name_of(settings)}: {m}")

    parameters = {**dict(model.model.decoder.named_parameters()), **dict(model.lm_head.named_parameters())}
    if memory is not None:
        parameters["memory"] = memory
    wanted = list(parameters.values())
    gradients = torch.autograd.grad(weighted_sum(results, real), wanted, allow_unused=True)
    references = torch.autograd.grad(weighted_sum(expected, real), wanted, allow_unused=True)
    for name, gradient, reference in zip(parameters, gradients, references, strict=True):
        if gradient is None:
            gradient = torch.zeros_like(reference)
        assert_close(gradient, reference, **EXACT, msg=lambda m, n=name: f"{name_of(settings)}, gradient of {n}: {m}")


@over_configurations
@pytest.mark.parametrize("padded", [False, True], ids=["", "padded"])
def test_values_and_gradients_equal_a_plain_loop(factory, settings, padded):
    check_against_reference(factory, settings, padded)


@pytest.mark.slow
@over_models
@pytest.mark.parametrize("eighth", range(8))
def test_every_configuration_equals_a_plain_loop(factory, eighth):
    for number, settings in enumerate(every_configuration()[eighth::8]):
        check_against_reference(factory, settings, padded=number % 2 == 0)


def feed(model: PreTrainedModel, inputs: dict, tokens: torch.Tensor, mask: torch.Tensor | None, cuts: list[int]):
    """Feeds tokens in chunks through a cache: the logits and the attention weights of all of them."""
    cache, start, logits, maps = None, 0, [], []
    for end in [*cuts, tokens.shape[1]]:
        # As generate() gives it: for the tokens before, too.
        seen = None if mask is None else mask[:, :end]
        outputs = read(model, inputs, tokens[:, start:end], seen, cache, use_cache=True, output_attentions=True)
        cache, start = outputs.past_key_values, end
        assert cache.get_seq_length() == prompt_length(model, inputs) + end
        logits.append(outputs.logits)
        maps.append(outputs.cross_attentions)
    if not maps[0]:
        return torch.cat(logits, 1), None
    return torch.cat(logits, 1), torch.cat([layers[0] for layers in maps], 2)


def assert_same(result: tuple, expected: tuple, real: torch.Tensor | None = None) -> None:
    for one, other in zip(result, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None and real is None:
            assert_close(one, other, **CLOSE)
        elif one is not None:
            steps = real.bool()
            both = (one, other) if one.ndim == 3 else (one.transpose(1, 2), other.transpose(1, 2))
            assert_close(both[0][steps], both[1][steps], **CLOSE)


@torch.no_grad()
def at_once(model, inputs, tokens, mask=None):
    outputs = read(model, inputs, tokens, mask, use_cache=False, output_attentions=True)
    assert outputs.past_key_values is None
    return outputs.logits, outputs.cross_attentions[0] if outputs.cross_attentions else None


@over_configurations
@torch.no_grad()
def test_cached_equals_uncached(factory, settings):
    model, inputs = factory.to_double(factory.make_model(**settings), factory.make_inputs(3))
    tokens = make_tokens(rows=3, length=6)
    expected = at_once(model, inputs, tokens)
    for cuts in ([1, 2, 3, 4, 5], [2, 3], []):
        assert_same(feed(model, inputs, tokens, None, cuts), expected)
    tokens, mask = left_padded(tokens)
    expected = at_once(model, inputs, tokens, mask)
    for cuts in ([1, 2, 3, 4, 5], [4]):
        assert_same(feed(model, inputs, tokens, mask, cuts), expected, mask)


@over_configurations
@torch.no_grad()
def test_a_row_of_a_batch_equals_the_row_alone(factory, settings):
    model, inputs = factory.to_double(factory.make_model(**settings), factory.make_inputs(4))
    words = make_tokens(rows=4, length=6)
    tokens, mask = left_padded(words)
    logits, maps = at_once(model, inputs, tokens, mask)
    for row in range(4):
        padding = (mask[row] == 0).sum()
        alone = at_once(model, take(inputs, row), words[row : row + 1, : 6 - padding])
        expected = (logits[row : row + 1, padding:], None if maps is None else maps[row : row + 1, :, padding:])
        assert_same(alone, expected)


@over_configurations
@torch.no_grad()
def test_rows_that_share_a_memory_equal_the_memory_repeated(factory, settings):
    if not factory.has_encoder:
        pytest.skip("there is no memory to share")
    model, inputs = factory.to_double(factory.make_model(**settings), factory.make_inputs(2))
    tokens = make_tokens(rows=6, length=4)
    assert_same(at_once(model, inputs, tokens), at_once(model, repeat(inputs, 3), tokens))
    assert_same(feed(model, inputs, tokens, None, [1, 3]), at_once(model, repeat(inputs, 3), tokens))


@over_configurations
@torch.no_grad()
def test_what_is_masked_does_not_matter(factory, settings):
    model, inputs = factory.to_double(factory.make_model(**settings), factory.make_inputs(3))
    tokens, mask = left_padded(make_tokens(rows=3, length=5))
    expected = at_once(model, inputs, tokens, mask)
    content = inputs[factory.content].clone()
    if factory.has_encoder:
        content[inputs[factory.mask] == 0] = 55.0 if content.is_floating_point() else VOCABULARY - 1
    other_tokens = tokens.masked_fill(mask == 0, VOCABULARY - 1)
    result = at_once(model, {**inputs, factory.content: content}, other_tokens, mask)
    assert_same(result, expected, mask)
    if result[1] is not None and factory.has_encoder:
        masked = (memory_mask(model, inputs) == 0)[:, None, None].expand_as(result[1])
        assert (result[1][masked] == 0).all()
        assert_close(result[1].sum(-1), torch.ones_like(result[1][..., 0]))


@over_encoder_decoders
@torch.no_grad()
def test_embeddings_in_place_of_tokens(factory):
    model, inputs = factory.make_model(), factory.make_inputs(2)
    tokens = make_tokens(rows=2, length=4)
    outputs = model(**inputs, decoder_inputs_embeds=model.get_decoder().embed_tokens(tokens), output_attentions=True)
    assert_same((outputs.logits, outputs.cross_attentions[0]), at_once(model, inputs, tokens))


@over_encoder_decoders
def test_rows_must_be_a_multiple_of_the_memories(factory):
    model, inputs = factory.make_model(), factory.make_inputs(2)
    with pytest.raises(ValueError, match=r"\(3\).*\(2\)"):
        model(**inputs, decoder_input_ids=make_tokens(rows=3, length=4))


@over_models
@pytest.mark.parametrize("shape", [(2, 3), (1, 4), (3, 4)])
def test_a_mask_of_another_shape_is_refused(factory, shape):
    model, inputs = factory.make_model(), factory.make_inputs(2)
    name = "decoder_attention_mask" if factory.has_encoder else "attention_mask"
    tokens = {"decoder_input_ids" if factory.has_encoder else "input_ids": make_tokens(rows=2, length=4)}
    with pytest.raises(ValueError, match=r"`attention_mask` must have shape \(2, 4\)"):
        model(**{**inputs, **tokens, name: torch.ones(shape, dtype=torch.long)})


@over_models
def test_the_last_logits_beside_a_loss_over_all(factory):
    model, inputs = factory.make_model(), factory.make_inputs(2)
    labels = make_tokens(rows=2, length=4)
    if not factory.has_encoder:
        inputs = {"input_ids": labels}
    everything, last = model(**inputs, labels=labels), model(**inputs, labels=labels, logits_to_keep=1)
    assert last.loss.equal(everything.loss)
    assert last.logits.equal(everything.logits[:, -1:])


@over_encoder_decoders
def test_tokens_and_embeddings_together_are_refused(factory):
    model, inputs = factory.make_model(), factory.make_inputs(1)
    tokens = make_tokens(rows=1, length=2)
    with pytest.raises(ValueError, match="inputs_embeds"):
        model(**inputs, decoder_input_ids=tokens, decoder_inputs_embeds=model.get_decoder().embed_tokens(tokens))


@over_models
def test_dropout_acts_in_training_only(factory):
    names = ("embedding_dropout", "hidden_dropout", "readout_dropout", "memory_dropout")
    for name in names if factory.has_encoder else names[:-1]:
        model, inputs = factory.make_model(**{name: 0.5}, num_hidden_layers=2), factory.make_inputs(2)
        tokens = make_tokens(rows=2, length=4)
        assert_same(at_once(model, inputs, tokens), at_once(model, inputs, tokens))
        logits = [read(model.train(), inputs, tokens).logits for _ in range(2)]
        assert not logits[0].equal(logits[1]), name


@over_encoder_decoders
@pytest.mark.parametrize(
    "settings",
    [
        {"coverage": True, "context_gate": True, "num_hidden_layers": 2},
        {"rnn_type": "gru", "attention_type": "general", "attention_order": "after_rnn", "input_feeding": True},
        {"attention_type": "scaled_dot", "num_attention_heads": 2, "readout_embedding": True},
        {"attention_type": "dot", "attention_order": "after_rnn", "rnn_type": "gru", "initial_state": "zeros"},
    ],
    ids=lambda settings: "-".join(settings),
)
def test_gradients_equal_finite_differences(factory, settings):
    sizes = {"hidden_size": 3, "memory_size": 3, "embedding_size": 2, "attention_size": 2}
    model, inputs = factory.to_double(factory.make_model(**sizes, **settings), factory.make_inputs(2))
    encoder_outputs = model.get_encoder()(**inputs)
    tokens = make_tokens(rows=2, length=3)
    names = [name for name, _ in model.model.decoder.named_parameters() if "embed_tokens" not in name]

    initial_states = encoder_outputs.initial_states
    if initial_states is not None:
        initial_states = initial_states.detach()

    def run(memory, *parameters):
        outputs = torch.func.functional_call(
            model.model.decoder,
            dict(zip(names, parameters, strict=True)),
            kwargs={
                "memory": memory,
                "memory_mask": encoder_outputs.memory_mask,
                "input_ids": tokens,
                "output_attentions": True,
                "initial_states": initial_states,
            },
        )
        return outputs.last_hidden_state, outputs.cross_attentions[0]

    parameters = [model.model.decoder.get_parameter(name).detach().requires_grad_() for name in names]
    memory = encoder_outputs.last_hidden_state.detach().requires_grad_()
    assert torch.autograd.gradcheck(run, (memory, *parameters), fast_mode=True)


@over_configurations
def test_a_training_step_in_bfloat16_is_close_to_one_in_float32(factory, settings):
    model, inputs = factory.make_model(**settings).train(), factory.make_inputs(3)
    labels = make_tokens(rows=6, length=5)
    if not factory.has_encoder:
        inputs = {"input_ids": labels}

    def gradients() -> torch.Tensor:
        model.zero_grad()
        loss = model(**inputs, labels=labels).loss
        assert loss.dtype == torch.float32
        loss.backward()
        for parameter in model.parameters():
            assert parameter.grad is None or parameter.grad.dtype == torch.float32
        found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        if model.config.readout_activation == "maxout":
            # Rounding says which one of a unit's two nearly equal halves gets the gradient, but not what both get.
            found |= {name: grad.unflatten(0, (-1, 2)).sum(1) for name, grad in found.items() if ".readout." in name}
        return torch.cat([grad.flatten() for grad in found.values()])

    exact = gradients()
    with torch.autocast("cpu", torch.bfloat16):
        rough = gradients()
    assert rough.isfinite().all()
    assert torch.cosine_similarity(exact, rough, 0) > 0.99
    assert_close(rough.norm(), exact.norm(), rtol=0.1, atol=0)


@over_configurations
def test_autocast_leaves_float64_alone(factory, settings):
    model, inputs = factory.make_model(**settings).double(), factory.make_inputs(2)
    inputs = {name: value.double() if value.is_floating_point() else value for name, value in inputs.items()}
    labels = make_tokens(rows=4, length=5)
    if not factory.has_encoder:
        inputs = {"input_ids": labels}
    expected = model(**inputs, labels=labels).loss
    with torch.autocast("cpu", torch.bfloat16):
        assert_close(model(**inputs, labels=labels).loss, expected)


def decode_steps(model: PreTrainedModel, inputs: dict, tokens: torch.Tensor) -> list[torch.Tensor]:
    if model.config.is_encoder_decoder:
        inputs = {"encoder_outputs": model.get_encoder()(**inputs)}
    cache = RecurrentCache()
    steps = [step.contiguous() for step in tokens.split(1, 1)]  # as generate() passes them
    return [read(model, inputs, step, past_key_values=cache, output_attentions=True).logits for step in steps]


# Compiling takes long, and of the models it is the decoder alone that is run.
@pytest.mark.parametrize(
    "factory",
    [FACTORIES[0], *(pytest.param(factory, marks=pytest.mark.slow) for factory in FACTORIES[1:])],
    ids=lambda factory: factory.name,
)
@pytest.mark.parametrize(
    ("settings", "backend"),
    [
        ({"context_gate": True}, "aot_eager"),
        ({"attention_type": "dot", "attention_order": "after_rnn", "rnn_type": "gru"}, "aot_eager"),
        pytest.param(
            {"attention_type": "general", "attention_order": "after_rnn", "input_feeding": True},
            "aot_eager",
            marks=pytest.mark.slow,
        ),
        pytest.param({"attention_type": None, "num_hidden_layers": 2}, "aot_eager", marks=pytest.mark.slow),
        pytest.param({"coverage": True}, "inductor", marks=pytest.mark.slow),
        pytest.param(
            {"attention_type": "scaled_dot", "attention_order": "after_rnn"}, "inductor", marks=pytest.mark.slow
        ),
    ],
)
@torch.no_grad()
def test_compiled_forward_is_not_compiled_again_from_step_to_step(factory, settings, backend):
    model, inputs = factory.to_double(factory.make_model(**settings), factory.make_inputs(2))
    tokens = make_tokens(rows=2, length=12)
    expected = decode_steps(model, inputs, tokens)
    torch._dynamo.reset()
    counter = CompileCounterWithBackend(backend)
    compiled = torch.compile(model.forward, backend=counter, dynamic=True)
    counts = []

    def forward(**kwargs):
        outputs = compiled(**kwargs)
        counts.append(counter.frame_count)
        return outputs

    model.forward = forward
    for result, reference in zip(decode_steps(model, inputs, tokens), expected, strict=True):
        assert_close(result, reference, **CLOSE)
    assert counts[0] > 0
    assert counts[-1] == counts[2], f"compiled graphs after each step: {counts}"
    torch._dynamo.reset()
