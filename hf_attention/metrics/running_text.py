"""A text as a language model reads it: as one stream of tokens, or sentence by sentence."""

from collections.abc import Iterable

import torch
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerFast


def sentences(texts: Iterable[str], tokenizer: PreTrainedTokenizerFast) -> list[list[int]]:
    """The tokens of each text between two ends of sentence: one to read before the first word, one to predict."""
    end = tokenizer.eos_token_id
    return [[end, *ids, end] for ids in tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]]


def stream(texts: Iterable[str], tokenizer: PreTrainedTokenizerFast) -> torch.LongTensor:
    """
    The texts as one: an end of sentence to begin with, and one behind each text.

    Returns:
        `torch.LongTensor` of shape `(1 + tokens,)`: All but the first are to be predicted.
    """
    parts = sentences(texts, tokenizer)
    return torch.tensor([tokenizer.eos_token_id, *(token for part in parts for token in part[1:])])


def in_columns(tokens: torch.LongTensor, columns: int) -> tuple[torch.LongTensor, torch.LongTensor]:
    """
    Cuts a stream into parts of equal length that are read side by side.

    Args:
        tokens (`torch.LongTensor` of shape `(1 + tokens,)`):
            The stream.
        columns (`int`):
            How many parts.

    Returns:
        `tuple[torch.LongTensor, torch.LongTensor]`: What is read and, for each token, the next one, both of shape
        `(columns, length)`; behind the last of the stream there is 0 to read, and -100 to predict.
    """
    inputs, targets = tokens[:-1], tokens[1:]
    missing = -len(targets) % columns
    return (
        F.pad(inputs, (0, missing)).view(columns, -1),
        F.pad(targets, (0, missing), value=-100).view(columns, -1),
    )


def collate_sentences(batch: list[list[int]]) -> dict[str, torch.Tensor]:
    """Pads on the right: no label lies behind a sentence, so nothing depends on what is read there."""
    inputs = [torch.tensor(tokens[:-1]) for tokens in batch]
    targets = [torch.tensor(tokens[1:]) for tokens in batch]
    return {
        "input_ids": pad_sequence(inputs, batch_first=True),
        "shift_labels": pad_sequence(targets, batch_first=True, padding_value=-100),
    }
