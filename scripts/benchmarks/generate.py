"""A step of `generate()`, and of a bare loop over the same decoder."""

import argparse
from functools import partial

import torch

from hf_attention.models.cache import RecurrentCache
from hf_attention.models.modeling_attention_captioner import AttentionCaptionerForConditionalGeneration

from .random_captioner import add_size_arguments, make_captioner
from .timing import Targets, medians


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_size_arguments(parser)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32], help="numbers of images")
    parser.add_argument("--beams", type=int, default=4, help="beams, beside greedy search")
    parser.add_argument("--tokens", type=int, default=50, help="tokens generated")
    parser.add_argument("--positions", type=int, default=49, help="memory positions")


class BareLoop:
    """
    Greedy and beam search over a captioner's decoder without `generate()`: no sequence ends.

    Args:
        model ([`AttentionCaptionerForConditionalGeneration`]):
            The captioner.
        num_tokens (`int`):
            The number of tokens to generate.
    """

    def __init__(self, model: AttentionCaptionerForConditionalGeneration, num_tokens: int):
        self.model = model
        self.num_tokens = num_tokens

    def _next_logits(self, memory: torch.Tensor, tokens: torch.Tensor, cache: RecurrentCache) -> torch.Tensor:
        output = self.model.model.decoder(memory=memory, input_ids=tokens.unsqueeze(1), cache=cache)
        return self.model.lm_head(output.last_hidden_state[:, -1])

    @torch.no_grad()
    def greedy(self, memory: torch.Tensor) -> torch.Tensor:
        cache = RecurrentCache()
        tokens = [memory.new_full((memory.shape[0],), self.model.config.bos_token_id, dtype=torch.long)]
        for _ in range(self.num_tokens):
            tokens.append(self._next_logits(memory, tokens[-1], cache).argmax(-1))
        return torch.stack(tokens, 1)

    @torch.no_grad()
    def beam(self, memory: torch.Tensor, num_beams: int) -> torch.Tensor:
        batch = memory.shape[0]
        cache = RecurrentCache()
        sequences = memory.new_full((batch * num_beams, 1), self.model.config.bos_token_id, dtype=torch.long)
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


def run(args: argparse.Namespace) -> tuple[dict[str, float], Targets]:
    """Milliseconds a step of `generate()` and of the bare loop, whose sequences must be the same."""
    model = make_captioner(args).eval()
    config = model.config
    with torch.no_grad():
        model.lm_head.weight *= 20  # no two words as likely as each other: the order of a sum would choose
        # Never the end, nor what generate() suppresses.
        model.lm_head.bias[[config.pad_token_id, config.bos_token_id, config.eos_token_id]] = -1e4
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
