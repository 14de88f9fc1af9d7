"""What never occurs together in the training data, though it might."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain, pairwise

import torch


# Below this, that something never occurs may be chance.
MIN_EXPECTED = 20


def absent_pairs(counts: torch.Tensor, min_expected: int = MIN_EXPECTED) -> torch.BoolTensor:
    """
    The pairs that never occur, though chance would have made them occur.

    Args:
        counts (`torch.Tensor` of shape `(rows, columns)`):
            How often each row occurs with each column.
        min_expected (`int`, *optional*, defaults to 20):
            How often a pair would have occurred if columns were as frequent in its row as they are in all.

    Returns:
        `torch.BoolTensor` of shape `(rows, columns)`
    """
    counts = counts.double()
    expected = counts.sum(1, keepdim=True) * counts.sum(0) / counts.sum().clamp(min=1)
    return (counts == 0) & (expected >= min_expected)


def absent_followers(
    labels: Iterable[Sequence[Sequence[int]]], words: Sequence[int], vocab_size: int, min_expected: int = MIN_EXPECTED
) -> torch.BoolTensor:
    """
    Which of some words of one kind never follow which word, though others of the kind do.

    Args:
        labels (`Iterable[Sequence[Sequence[int]]]`):
            The token ids of the texts of each example.
        words (`Sequence[int]`):
            The tokens of one kind, such as nouns.
        vocab_size (`int`):
            How many tokens there are.
        min_expected (`int`, *optional*, defaults to 20):
            See [`absent_pairs`].

    Returns:
        `torch.BoolTensor` of shape `(vocab_size, vocab_size)`: Whether the second never follows the first.
    """
    counts = torch.zeros(vocab_size, vocab_size)
    for pair, count in Counter(pair for ids in chain.from_iterable(labels) for pair in pairwise(ids)).items():
        counts[pair] = count
    absent = torch.zeros(vocab_size, vocab_size, dtype=torch.bool)
    absent[:, words] = absent_pairs(counts[:, words], min_expected)
    return absent
