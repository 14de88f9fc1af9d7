"""Tokens that are forbidden all at once."""

import itertools
import math
from collections.abc import Callable

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    MinLengthLogitsProcessor,
    MinNewTokensLengthLogitsProcessor,
    SuppressTokensLogitsProcessor,
)


# The tokens that a processor forbids behind so many.
FORBIDDEN: dict[type[LogitsProcessor], Callable[[LogitsProcessor, int], torch.Tensor | None]] = {
    MinLengthLogitsProcessor: lambda rule, length: rule.eos_token_id if length < rule.min_length else None,
    MinNewTokensLengthLogitsProcessor: lambda rule, length: (
        rule.eos_token_id if length < rule.prompt_length_to_skip + rule.min_new_tokens else None
    ),
    SuppressTokensLogitsProcessor: lambda rule, length: rule.suppress_tokens,
}


class ForbiddenTokens(LogitsProcessor):
    """
    As several processors of transformers in turn, each of which goes over all scores to forbid a few tokens.

    Args:
        rules (`list[LogitsProcessor]`): Those in whose place it is, of the classes of `FORBIDDEN`.
    """

    def __init__(self, rules: list[LogitsProcessor]):
        self.rules = rules

    def __call__(self, input_ids: torch.LongTensor, scores: torch.Tensor) -> torch.Tensor:
        parts = (FORBIDDEN[type(rule)](rule, input_ids.shape[1]) for rule in self.rules)
        # transformers takes whatever `torch.isin` takes: single numbers, other dtypes, nothing at all.
        tokens = [part.reshape(-1).long() for part in parts if part is not None]
        if not tokens:
            return scores.clone()
        tokens = torch.cat(tokens)
        is_known = (tokens >= 0) & (tokens < scores.shape[1])  # transformers takes others, and forbids nothing
        return scores.index_fill(1, tokens[is_known], -math.inf)


def forbid_tokens(processors: LogitsProcessorList, input_ids: torch.LongTensor) -> LogitsProcessorList:
    """As [`~hf_attention.models.forbidden_tokens.forbid_tokens`], on processors."""
    if input_ids.device.type != "cpu":
        return NotImplemented
    joined = LogitsProcessorList()
    for forbids, group in itertools.groupby(processors, lambda processor: type(processor) in FORBIDDEN):
        group = list(group)
        joined += [ForbiddenTokens(group)] if forbids else group
    return joined
