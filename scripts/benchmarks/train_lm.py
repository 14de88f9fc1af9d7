"""A training step of the language model, and of a plain `torch.nn.LSTM` model of the same sizes."""

import argparse
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from hf_attention.models.modeling_recurrent_lm import RecurrentLMForCausalLM

from .random_lm import add_size_arguments, make_lm
from .timing import Targets, medians


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_size_arguments(parser)
    parser.add_argument("--columns", type=int, default=32, help="parts of the text that are read side by side")
    parser.add_argument("--segment", type=int, default=48, help="tokens of a segment")
    parser.add_argument("--dropout", type=float, default=0.5, help="on embeddings, between layers and on the output")


class PlainLM(nn.Module):
    """
    The model as a tutorial writes it, with the weights of ours: embedding, `nn.LSTM`, all logits at once.

    Args:
        model ([`RecurrentLMForCausalLM`]):
            Ours, without a readout layer.
        dropout (`float`):
            On embeddings, between layers and on the output.
    """

    def __init__(self, model: RecurrentLMForCausalLM, dropout: float):
        super().__init__()
        self.embedding = model.model.decoder.embed_tokens
        config = model.config
        self.lstm = nn.LSTM(
            config.embedding_size, config.hidden_size, config.num_hidden_layers, batch_first=True, dropout=dropout
        )
        self.lstm.load_state_dict(model.model.decoder.rnn.state_dict())
        self.output = model.lm_head
        self.dropout = nn.Dropout(dropout)

    def forward(self, input_ids: torch.Tensor, targets: torch.Tensor, state: tuple) -> tuple[torch.Tensor, tuple]:
        hidden, state = self.lstm(self.dropout(self.embedding(input_ids)), state)
        logits = self.output(self.dropout(hidden))
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten()), state


def run(args: argparse.Namespace) -> tuple[dict[str, float], Targets]:
    """
    Milliseconds of forward, loss and backward on a segment, from a carried state. bfloat16 is what Accelerate makes of
    it: autocast over float32 weights.
    """
    model = make_lm(args, embedding_dropout=args.dropout, hidden_dropout=args.dropout, readout_dropout=args.dropout)
    plain = PlainLM(model, args.dropout).eval()
    tokens = torch.randint(4, args.vocabulary, (args.columns, args.segment + 1))
    inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    cache = model(inputs, use_cache=True).cache
    cache.detach()
    before = cache.state
    state = torch.stack(before.hidden), torch.stack(before.cell)

    def our_loss() -> torch.Tensor:
        cache.layers[0].state = before
        return model(inputs, shift_labels=targets, cache=cache, use_cache=True).loss

    def plain_loss() -> torch.Tensor:
        return plain(inputs, targets, state)[0]

    def training_step(loss: Callable[[], torch.Tensor], bf16: bool = False) -> Callable[[], None]:
        def run() -> None:
            for parameter in (*model.parameters(), *plain.parameters()):
                parameter.grad = None
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                value = loss()
            value.backward()

        return run

    torch.testing.assert_close(our_loss(), plain_loss(), rtol=0, atol=1e-5)  # in evaluation mode: no dropout
    model.train(), plain.train()
    times = medians(
        {
            "plain nn.LSTM, float32": training_step(plain_loss),
            "RecurrentLM, float32": training_step(our_loss),
            "RecurrentLM, bfloat16": training_step(our_loss, bf16=True),
        },
        args.repeats,
    )
    for name, milliseconds in times.items():
        print(f"{name}: {1000 * inputs.numel() / milliseconds:.0f} tokens a second")
    ratios = {
        "plain nn.LSTM, float32 / RecurrentLM, float32": (0.95, None),
        "plain nn.LSTM, float32 / RecurrentLM, bfloat16": (3.0, None),
    }
    return times, ratios
