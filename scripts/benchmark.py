"""
Speed of the attentive decoder, beside plain loops that compute the same numbers.

    python scripts/benchmark.py decoder      # a training step: the decoder, a textbook loop, bare matrix products
    python scripts/benchmark.py generate     # generate() and a bare loop over the same decoder

What is compared is run in turn, and each time is the median over the repeats, so that another load on the machine
falls on all alike.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from hf_attention.cache import RecurrentCache
from hf_attention.configuration_attention_captioner import AttentionCaptionerConfig
from hf_attention.modeling_attention_captioner import AttentionCaptionerForConditionalGeneration


# "numerator / denominator": (the least, the most that the ratio of their times should be)
Targets = dict[str, tuple[float | None, float | None]]


def medians(functions: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Runs the functions in turn, once to warm up and `repeats` times more; their median times in milliseconds."""
    times = {name: [] for name in functions}
    for repeat in tqdm(range(repeats + 1), leave=False):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if repeat > 0:
                times[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


class TextbookDecoder(nn.Module):
    """
    The additive attentive LSTM decoder as a textbook writes it: everything at every step.

    Args:
        config ([`AttentionCaptionerConfig`]): Of the model that it is to equal.
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


def make_captioner(args: argparse.Namespace) -> AttentionCaptionerForConditionalGeneration:
    """A captioner with random weights that attends to the features it is given as they are."""
    config = AttentionCaptionerConfig(
        vocab_size=args.vocabulary,
        embedding_size=args.embedding,
        hidden_size=args.hidden,
        attention_size=args.hidden,
        memory_size=args.memory,
        project_regions=False,
    )
    return AttentionCaptionerForConditionalGeneration(config)


def benchmark_decoder(args: argparse.Namespace) -> tuple[dict[str, float], Targets]:
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
        def run() -> None:
            for tensor in (memory, *model.parameters(), *textbook.parameters()):
                tensor.grad = None
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                value = loss()
            value.backward()

        return run

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


class BareLoop:
    """
    Greedy and beam search over a captioner's decoder without `generate()`: no sequence ends.

    Args:
        model ([`AttentionCaptionerForConditionalGeneration`]): The captioner.
        num_tokens (`int`): The number of tokens to generate.
    """

    def __init__(self, model: AttentionCaptionerForConditionalGeneration, num_tokens: int):
        self.model = model
        self.num_tokens = num_tokens

    def _next_logits(self, memory: torch.Tensor, tokens: torch.Tensor, cache: RecurrentCache) -> torch.Tensor:
        output = self.model.model.decoder(memory=memory, input_ids=tokens.unsqueeze(1), past_key_values=cache)
        return self.model.lm_head(output.last_hidden_state[:, -1])

    @torch.no_grad()
    def greedy(self, memory: torch.Tensor) -> torch.Tensor:
        cache = RecurrentCache()
        tokens = [memory.new_full((memory.shape[0],), self.model.config.decoder_start_token_id, dtype=torch.long)]
        for _ in range(self.num_tokens):
            tokens.append(self._next_logits(memory, tokens[-1], cache).argmax(-1))
        return torch.stack(tokens, 1)

    @torch.no_grad()
    def beam(self, memory: torch.Tensor, num_beams: int) -> torch.Tensor:
        batch = memory.shape[0]
        cache = RecurrentCache()
        sequences = memory.new_full((batch * num_beams, 1), self.model.config.decoder_start_token_id, dtype=torch.long)
        scores = torch.full((batch, num_beams), -1e9)
        scores[:, 0] = 0  # all beams start alike: the first step goes on from one
        first_rows = torch.arange(batch).unsqueeze(1) * num_beams
        for _ in range(self.num_tokens):
            logits = self._next_logits(memory, sequences[:, -1], cache)
            totals = scores.unsqueeze(-1) + logits.log_softmax(-1).unflatten(0, (batch, num_beams))
            scores, indices = totals.flatten(1).topk(num_beams)
            rows = (first_rows + indices // logits.shape[-1]).flatten()
            tokens = (indices % logits.shape[-1]).view(-1, 1)
            sequences = torch.cat([sequences[rows], tokens], 1)
            cache.reorder_cache(rows)
        return sequences.unflatten(0, (batch, num_beams))[:, 0]


def benchmark_generate(args: argparse.Namespace) -> tuple[dict[str, float], Targets]:
    """Milliseconds a step of `generate()` and of the bare loop, whose sequences must be the same."""
    model = make_captioner(args).eval()
    config = model.config
    with torch.no_grad():
        model.lm_head.weight *= 20  # no two words as likely as each other: the order of a sum would choose
        # Never the end, nor what generate() suppresses.
        model.lm_head.bias[[config.pad_token_id, config.unk_token_id, config.bos_token_id, config.eos_token_id]] = -1e4
    loop = BareLoop(model, args.tokens)
    functions, ratios = {}, {}
    for batch in args.batches:
        memory = torch.randn(batch, args.positions, args.memory)
        for num_beams in (1, args.beams):
            arguments = {"num_beams": num_beams, "max_new_tokens": args.tokens, "do_sample": False}
            generate = partial(model.generate, region_features=memory, **arguments)
            bare = partial(loop.greedy, memory) if num_beams == 1 else partial(loop.beam, memory, num_beams)
            if not torch.equal(generate(), bare()):
                raise RuntimeError(f"generate() and the bare loop disagree (batch {batch}, {num_beams} beams).")
            case = f"{'greedy' if num_beams == 1 else f'beam {num_beams}'}, batch {batch}"
            functions |= {f"generate(), {case}": generate, f"bare loop, {case}": bare}
            ratios[f"generate(), {case} / bare loop, {case}"] = (None, 2.2)
    times = medians(functions, args.repeats)
    return {name: value / args.tokens for name, value in times.items()}, ratios


def report(times: dict[str, float], targets: Targets) -> dict[str, dict[str, float]]:
    """Prints the times and their ratios; returns both."""
    ratios = {}
    width = max(map(len, (*times, *targets)))
    for name, value in times.items():
        print(f"{name:<{width}}  {value:9.2f} ms")
    for name, (at_least, at_most) in targets.items():
        numerator, denominator = name.split(" / ")
        ratios[name] = times[numerator] / times[denominator]
        target = f"at least {at_least}" if at_most is None else f"at most {at_most}"
        print(f"{name:<{width}}  {ratios[name]:9.2f} ({target})")
    return {"milliseconds": times, "ratios": ratios}


def main(argv: list[str] | None = None) -> None:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--repeats", type=int, default=7, help="timed runs of each, after one to warm up")
    common.add_argument("--threads", type=int, help="threads of PyTorch; all cores where not given")
    common.add_argument("--json", type=Path, help="where to write the numbers too")
    common.add_argument("--embedding", type=int, default=256, help="embedding size")
    common.add_argument("--hidden", type=int, default=512, help="size of state, attention and readout")
    common.add_argument("--memory", type=int, default=1024, help="memory size")
    common.add_argument("--vocabulary", type=int, default=8000, help="vocabulary size")

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)

    decoder = commands.add_parser("decoder", parents=[common], help="a training step")
    decoder.set_defaults(run=benchmark_decoder)
    decoder.add_argument("--batch", type=int, default=64, help="sequences")
    decoder.add_argument("--target", type=int, default=24, help="target positions")
    decoder.add_argument("--positions", type=int, default=24, help="memory positions")

    generate = commands.add_parser("generate", parents=[common], help="a step of generate()")
    generate.set_defaults(run=benchmark_generate)
    generate.add_argument("--batches", type=int, nargs="+", default=[1, 32], help="numbers of images")
    generate.add_argument("--beams", type=int, default=4, help="beams, beside greedy search")
    generate.add_argument("--tokens", type=int, default=50, help="tokens generated")
    generate.add_argument("--positions", type=int, default=49, help="memory positions")

    args = parser.parse_args(argv)
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    numbers = report(*args.run(args))
    if args.json is not None:
        settings = {name: value for name, value in vars(args).items() if name not in ("run", "json")}
        settings |= {"threads": torch.get_num_threads(), "torch": torch.__version__}
        args.json.write_text(json.dumps({"settings": settings, **numbers}, indent=2) + "\n")


if __name__ == "__main__":
    main()
