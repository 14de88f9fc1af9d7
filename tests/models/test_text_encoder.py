"""The recurrent encoder against a plain loop over the tokens that are not padding."""

import pytest
import torch
from common.reference import read_sentence
from torch.testing import assert_close

from hf_attention import AttentionSeq2SeqConfig
from hf_attention.models.text_encoder import TextEncoder


EXACT = {"rtol": 1e-9, "atol": 1e-11}
# Rows with padding at the right, at the left, between tokens, everywhere, and nowhere.
MASK = torch.tensor([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [1, 0, 1, 0, 1], [0, 1, 0, 1, 0], [1, 1, 1, 1, 1]])
TOKENS = torch.randint(4, 13, MASK.shape, generator=torch.Generator().manual_seed(1)).masked_fill(MASK == 0, 0)


def make_encoder(**settings) -> TextEncoder:
    defaults = {
        "vocab_size": 13,
        "embedding_size": 4,
        "hidden_size": 6,
        "encoder_embedding_size": 5,
        "encoder_hidden_size": 3,
        "attention_size": 4,
    }
    encoder = TextEncoder(AttentionSeq2SeqConfig(**defaults | settings)).double().eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.copy_(2 * torch.rand(parameter.shape, generator=generator) - 1)
    return encoder


def expected_start(encoder: TextEncoder, finals: list[list[tuple[torch.Tensor, ...]]]) -> torch.Tensor | None:
    """What the decoder starts from `(states, hidden_size)`, from the last states of each layer and direction."""
    initial_state, size = encoder.config.initial_state, encoder.config.hidden_size
    if initial_state == "copied_states":
        hidden_and_cell = range(len(finals[0][0]))
        return torch.stack(
            [torch.cat([states[kind] for states in layer]) for kind in hidden_and_cell for layer in finals]
        )
    if initial_state in ("memory_mean", "zeros"):
        return None
    top = [states[0] for states in finals[-1]]
    read = torch.cat(top) if initial_state == "final_states" else top[1]
    return torch.tanh(encoder.bridge.weight @ read + encoder.bridge.bias).reshape(-1, size)


def reference(encoder: TextEncoder, tokens: torch.Tensor, mask: torch.Tensor) -> tuple:
    config, weights = encoder.config, dict(encoder.named_parameters())
    memory = torch.zeros(*tokens.shape, config.memory_size, dtype=torch.float64)
    starts = []
    for row in range(len(tokens)):
        positions = mask[row].nonzero().flatten()
        embeddings = [weights["embed_tokens.weight"][token] for token in tokens[row, positions].tolist()]
        states, finals = read_sentence(
            weights,
            embeddings,
            config.encoder_num_hidden_layers,
            config.encoder_bidirectional,
            config.encoder_rnn_type == "lstm",
        )
        if config.encoder_skip_connection:
            states = torch.cat([states, torch.stack(embeddings)], -1)
        memory[row, positions] = states
        starts.append(expected_start(encoder, finals))
    return memory, None if starts[0] is None else torch.stack(starts)


def gradients(encoder: TextEncoder, memory: torch.Tensor, starts: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """Of a sum in which every element of the real positions has another weight."""
    generator = torch.Generator().manual_seed(4)
    total = (memory * MASK.unsqueeze(-1) * torch.randn(memory.shape, generator=generator, dtype=memory.dtype)).sum()
    if starts is not None:
        total = total + (starts * torch.randn(starts.shape, generator=generator, dtype=starts.dtype)).sum()
    names, parameters = zip(*encoder.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(total, parameters), strict=True))


@pytest.mark.parametrize("rnn_type", ["lstm", "gru"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "both ways"])
@pytest.mark.parametrize("skip_connection", [False, True], ids=["states", "states and words"])
@pytest.mark.parametrize("initial_state", AttentionSeq2SeqConfig.choices["initial_state"])
def test_values_and_gradients_equal_a_plain_loop(rnn_type, layers, bidirectional, skip_connection, initial_state):
    if initial_state == "final_backward_state" and not bidirectional:
        pytest.skip("there is no backward direction")
    encoder = make_encoder(
        # The decoder may be of another type and depth, except where it takes over the states as they are.
        rnn_type=rnn_type if initial_state == "copied_states" else "lstm",
        num_hidden_layers=layers if initial_state == "copied_states" else 2,
        encoder_rnn_type=rnn_type,
        encoder_num_hidden_layers=layers,
        encoder_bidirectional=bidirectional,
        encoder_hidden_size=3 if bidirectional else 6,
        encoder_skip_connection=skip_connection,
        initial_state=initial_state,
    )
    output = encoder(input_ids=TOKENS, attention_mask=MASK)
    memory, starts = reference(encoder, TOKENS, MASK)
    assert_close(output.last_hidden_state[MASK.bool()], memory[MASK.bool()], **EXACT)
    assert output.memory_mask.equal(MASK)
    assert (output.initial_states is None) == (starts is None)
    if starts is not None:
        config = encoder.config
        states = config.num_hidden_layers * (2 if config.rnn_type == "lstm" else 1)
        assert starts.shape == (len(TOKENS), states, config.hidden_size)
        assert_close(output.initial_states, starts, **EXACT)
    expected = gradients(encoder, memory, starts)
    for name, gradient in gradients(encoder, output.last_hidden_state, output.initial_states).items():
        if name == "embed_tokens.weight":
            assert not gradient[0].any()
        assert_close(gradient, expected[name], **EXACT, msg=lambda m, name=name: f"gradient of {name}: {m}")


@pytest.mark.parametrize("skip_connection", [False, True], ids=["states", "states and words"])
@pytest.mark.parametrize("mask_type", [torch.long, torch.bool, torch.float64])
def test_padding_changes_nothing(mask_type, skip_connection):
    """Each row equals its tokens alone, without a mask; and it does not matter what stands at the padding."""
    encoder = make_encoder(encoder_num_hidden_layers=2, encoder_skip_connection=skip_connection)
    embeddings = encoder.embed_tokens(TOKENS).detach().masked_fill((MASK == 0).unsqueeze(-1), torch.nan)
    embeddings.requires_grad_()
    mask = MASK.to(mask_type)
    output = encoder(inputs_embeds=embeddings, attention_mask=mask)
    by_tokens = encoder(input_ids=TOKENS, attention_mask=mask)
    assert_close(output.last_hidden_state[MASK.bool()], by_tokens.last_hidden_state[MASK.bool()], **EXACT)
    assert_close(output.initial_states, by_tokens.initial_states, **EXACT)
    for row, real in enumerate(MASK.bool()):
        alone = encoder(input_ids=TOKENS[row : row + 1, real])
        assert alone.memory_mask is None
        assert_close(output.last_hidden_state[row, real], alone.last_hidden_state[0], **EXACT)
        assert_close(output.initial_states[row], alone.initial_states[0], **EXACT)
    total = output.last_hidden_state.square().sum() + output.initial_states.square().sum()
    gradient, *of_weights = torch.autograd.grad(total, (embeddings, *encoder.rnn.parameters()))
    assert all(weight.isfinite().all() for weight in of_weights)
    assert not gradient[MASK == 0].any()
    assert gradient[MASK == 1].all()


def test_an_rnn_with_a_hook_is_called():
    encoder, calls = make_encoder(encoder_num_hidden_layers=2), []
    expected = encoder(input_ids=TOKENS, attention_mask=MASK)
    encoder.rnn.register_forward_hook(lambda *call: calls.append(call))
    output = encoder(input_ids=TOKENS, attention_mask=MASK)
    assert len(calls) == 1
    assert_close(output.last_hidden_state, expected.last_hidden_state, **EXACT)
    assert_close(output.initial_states, expected.initial_states, **EXACT)


def test_a_tuple_holds_the_same():
    encoder = make_encoder()
    output = encoder(input_ids=TOKENS, attention_mask=MASK)
    memory, mask, starts, nothing = encoder(input_ids=TOKENS, attention_mask=MASK, return_dict=False)
    assert nothing is None
    assert memory.equal(output.last_hidden_state) and mask.equal(MASK) and starts.equal(output.initial_states)


def test_dropout_acts_in_training_only():
    for settings in ({"embedding_dropout": 0.5}, {"hidden_dropout": 0.5, "encoder_num_hidden_layers": 2}):
        encoder = make_encoder(**settings)
        still = [encoder(input_ids=TOKENS, attention_mask=MASK).last_hidden_state for _ in range(2)]
        assert still[0].equal(still[1])
        encoder.train()
        moving = [encoder(input_ids=TOKENS, attention_mask=MASK).last_hidden_state for _ in range(2)]
        assert not moving[0].equal(moving[1])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "exactly one of `input_ids` and `inputs_embeds`"),
        (
            {"input_ids": TOKENS, "inputs_embeds": torch.zeros(5, 5, 5, dtype=torch.float64)},
            "exactly one of `input_ids` and `inputs_embeds`",
        ),
        ({"input_ids": TOKENS[:, :0]}, "source is empty"),
        ({"input_ids": TOKENS[:, :0], "attention_mask": MASK[:, :0]}, "source is empty"),
        (
            {"input_ids": TOKENS, "attention_mask": MASK * torch.tensor([[1], [0], [1], [0], [1]])},
            r"\[1, 3\].*padding",
        ),
        ({"input_ids": TOKENS, "attention_mask": MASK[:, 1:]}, r"`attention_mask`.*\(5, 5\).*\(5, 4\)"),
        ({"input_ids": TOKENS, "attention_mask": MASK[1:]}, r"`attention_mask`.*\(5, 5\).*\(4, 5\)"),
        ({"input_ids": TOKENS, "attention_mask": MASK[:, None]}, r"`attention_mask`.*\(5, 5\).*\(5, 1, 5\)"),
    ],
)
def test_inputs_that_cannot_be_read(inputs, message):
    with pytest.raises(ValueError, match=message):
        make_encoder()(**inputs)
