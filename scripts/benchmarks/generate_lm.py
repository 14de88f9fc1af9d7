"""A token of the language model's `generate()`, and of a bare loop over the same decoder; the bytes of its cache."""

import argparse
from functools import partial

import torch

from hf_attention.models.cache import RecurrentCache
from hf_attention.models.modeling_recurrent_lm import RecurrentLMForCausalLM

from .random_lm import add_size_arguments, make_lm
from .timing import Targets, medians


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_size_arguments(parser)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32], help="numbers of texts")
    parser.add_argument("--tokens", type=int, default=200, help="tokens generated")
    parser.add_argument("--prompt", type=int, default=10, help="tokens of the prompt")
    parser.add_argument("--lengths", type=int, nargs=2, default=[100, 10000], help="after which the cache is weighed")


def held_bytes(cache: RecurrentCache) -> int:
    """The bytes of the storages that a cache keeps alive."""
    storages = {}
    cache.layers[0].map(lambda tensor: storages.setdefault(tensor.untyped_storage().data_ptr(), tensor))
    return sum(tensor.untyped_storage().nbytes() for tensor in storages.values())


@torch.no_grad()
def greedy(
    model: RecurrentLMForCausalLM, prompt: torch.Tensor, num_tokens: int
) -> tuple[torch.Tensor, RecurrentCache]:
    """Greedy search without `generate()`: no text ends."""
    cache, tokens, new = RecurrentCache(), [prompt], prompt
    for _ in range(num_tokens):
        output = model.model.decoder(input_ids=new, cache=cache)
        new = model.lm_head(output.last_hidden_state[:, -1]).argmax(-1, keepdim=True)
        tokens.append(new)
    return torch.cat(tokens, 1), cache


def run(args: argparse.Namespace) -> tuple[dict[str, float], Targets]:
    """Milliseconds a token of `generate()` and of the bare loop, whose texts must be the same."""
    model = make_lm(args)
    config = model.config
    with torch.no_grad():
        model.lm_head.weight *= 20  # no two words as likely as each other: the order of a sum would choose
        # Never the end, nor what generate() suppresses.
        model.lm_head.bias[[config.pad_token_id, config.eos_token_id]] = -1e4
    functions, ratios = {}, {}
    for batch in args.batches:
        prompt = torch.randint(4, args.vocabulary, (batch, args.prompt))
        generate = partial(model.generate, prompt, max_new_tokens=args.tokens, do_sample=False)
        bare = partial(greedy, model, prompt, args.tokens)
        if not torch.equal(generate(), bare()[0]):
            raise RuntimeError(f"generate() and the bare loop disagree (batch {batch}).")
        functions |= {f"generate(), batch {batch}": generate, f"bare loop, batch {batch}": bare}
        ratios[f"generate(), batch {batch} / bare loop, batch {batch}"] = (None, 2.2)
    sizes = [held_bytes(greedy(model, prompt[:1], length)[1]) for length in args.lengths]
    for length, size in zip(args.lengths, sizes, strict=True):
        print(f"bytes of the cache after {length} tokens: {size}")
    if len(set(sizes)) > 1:
        raise RuntimeError(f"The cache grows: {sizes} bytes after {args.lengths} tokens.")
    times = medians(functions, args.repeats)
    return {name: value / args.tokens for name, value in times.items()}, ratios
