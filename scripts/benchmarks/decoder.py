"""A training step: the decoder, a textbook loop, bare matrix products."""

import argparse
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from hf_attention.models.configuration_attention_captioner import AttentionCaptionerConfig
from hf_attention.models.modeling_attention_captioner import AttentionCaptionerForConditionalGeneration

from .random_captioner import add_size_arguments, make_captioner
from .timing import Targets, medians


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_size_arguments(parser)
    parser.add_argument("--batch", type=int, default=64, help="sequences")
    parser.add_argument("--target", type=int, default=24, help="target positions")
    parser.add_argument("--positions", type=int, default=24, help="memory positions")


class TextbookDecoder(nn.Module):
    """
    The additive attentive LSTM decoder as a textbook writes it: everything at every step.

    Args:
        config ([`AttentionCaptionerConfig`]):
            Of the model that it is to equal.
    """

    def __init__(self, config: AttentionCaptionerConfig):
        super().__init__()
        hidden, attention, memory = config.hidden_size, config.attention_size, config.memory_size
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        self.initial_state = nn.Linear(memory, 2 * hidden)
        self.query = nn.Linear(hidden, attention, bias=False)
        self.key = nn.Linear(memory, attention)
        self.score = nn.Linear(attention, 1, bias=False)
        self.cell = nn.LSTMCell(config.embedding_size + memory, hidden)
        self.readout = nn.Linear(hidden + memory, config.readout_size)
        self.vocabulary = nn.Linear(config.readout_size, config.vocab_size)

    def forward(self, memory: torch.Tensor, input_ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        hidden, cell = self.initial_state(memory.mean(1)).tanh().chunk(2, -1)
        all_logits = []
        for step in range(input_ids.shape[1]):
            scores = self.score(torch.tanh(self.key(memory) + self.query(hidden).unsqueeze(1)))
            context = (scores.softmax(1) * memory).sum(1)
            hidden, cell = self.cell(torch.cat([self.embedding(input_ids[:, step]), context], -1), (hidden, cell))
            all_logits.append(self.vocabulary(self.readout(torch.cat([hidden, context], -1)).tanh()))
        return F.cross_entropy(torch.stack(all_logits, 1).flatten(0, 1), labels.flatten())

    @torch.no_grad()
    def copy_weights(self, model: AttentionCaptionerForConditionalGeneration) -> None:
        """Takes over the weights of a captioner."""
        decoder = model.model.decoder
        pairs = [
            (self.embedding, decoder.embed_tokens),
            (self.initial_state, decoder.initial_state),
            (self.query, decoder.attention.query_proj),
            (self.key, decoder.attention.key_proj),
            (self.score, decoder.attention.score_proj),
            (self.readout, decoder.readout),
            (self.vocabulary, model.lm_head),
        ]
        for mine, theirs in pairs:
            mine.load_state_dict(theirs.state_dict())
        self.cell.load_state_dict(
            {name.removesuffix("_l0"): value for name, value in decoder.rnn.state_dict().items()}
        )


def matrix_products(
    config: AttentionCaptionerConfig, batch: int, target: int, positions: int, dtype: torch.dtype
) -> Callable[[], None]:
    """
    The products of one training step and nothing else: of each, the forward one and the two of the backward pass.

    The keys, the embeddings' share of the gates, the readout and the vocabulary are one product for the whole
    sequence; the gates' with state and context, the query's, and the weighted sum are one a step.
    """

    def operands(*rows: int, inputs: int, outputs: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        shapes = (*rows, inputs), (outputs, inputs), (*rows, outputs)
        return tuple(torch.randn(shape).to(dtype) for shape in shapes)

    hidden, memory = config.hidden_size, config.memory_size
    whole = [
        operands(batch * positions, inputs=memory, outputs=config.attention_size),
        operands(batch * target, inputs=config.embedding_size, outputs=4 * hidden),
        operands(batch * target, inputs=hidden + memory, outputs=config.readout_size),
        operands(batch * target, inputs=config.readout_size, outputs=config.vocab_size),
    ]
    gates = operands(target, batch, inputs=hidden + memory, outputs=4 * hidden)
    query = operands(target, batch, inputs=hidden, outputs=config.attention_size)
    values = torch.randn(batch, positions, memory).to(dtype)
    weights = torch.randn(target, batch, 1, positions).to(dtype)
    context_gradients = torch.randn(target, batch, 1, memory).to(dtype)

    def linear(inputs: torch.Tensor, weight: torch.Tensor, gradient: torch.Tensor) -> None:
        torch.mm(inputs, weight.t())
        torch.mm(gradient, weight)
        torch.mm(gradient.t(), inputs)

    def run() -> None:
        for inputs, weight, gradient in whole:
            linear(inputs, weight, gradient)
        for step in range(target):
            for inputs, weight, gradient in (gates, query):
                linear(inputs[step], weight, gradient[step])
            torch.bmm(weights[step], values)
            torch.bmm(context_gradients[step], values.transpose(1, 2))
            torch.bmm(weights[step].transpose(1, 2), context_gradients[step])

    return run


def run(args: argparse.Namespace) -> tuple[dict[str, float], Targets]:
    """
    A training step: forward, loss and backward. The memory gets its gradient too, as it does from a trained encoder.
    bfloat16 is what Accelerate makes of it: autocast over float32 weights.
    """
    model = make_captioner(args).train()
    config = model.config
    textbook = TextbookDecoder(config)
    textbook.copy_weights(model)
    memory = torch.randn(args.batch, args.positions, args.memory, requires_grad=True)
    labels = torch.randint(config.eos_token_id, args.vocabulary, (args.batch, args.target))
    input_ids = model.prepare_decoder_input_ids_from_labels(labels)

    def our_loss() -> torch.Tensor:
        return model(region_features=memory, labels=labels).loss

    def textbook_loss() -> torch.Tensor:
        return textbook(memory, input_ids, labels)

    def training_step(loss: Callable[[], torch.Tensor], bf16: bool = False) -> Callable[[], None]:
        def step() -> None:
            for tensor in (memory, *model.parameters(), *textbook.parameters()):
                tensor.grad = None
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                value = loss()
            value.backward()

        return step

    def products(dtype: torch.dtype) -> Callable[[], None]:
        return matrix_products(config, args.batch, args.target, args.positions, dtype)

    torch.testing.assert_close(our_loss(), textbook_loss(), rtol=0, atol=1e-4)
    times = medians(
        {
            "textbook loop, float32": training_step(textbook_loss),
            "decoder, float32": training_step(our_loss),
            "matrix products, float32": products(torch.float32),
            "decoder, bfloat16": training_step(our_loss, bf16=True),
            "matrix products, bfloat16": products(torch.bfloat16),
        },
        args.repeats,
    )
    ratios = {
        "textbook loop, float32 / decoder, float32": (1.9, None),
        "textbook loop, float32 / decoder, bfloat16": (5.0, None),
        "decoder, float32 / matrix products, float32": (None, 1.3),
        "decoder, bfloat16 / matrix products, bfloat16": (None, 2.0),
    }
    return times, ratios
