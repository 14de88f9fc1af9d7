"""Tokens that are never generated, or not yet."""

import torch
from transformers import LogitsProcessorList

from .door import replaceable


@replaceable
def forbid_tokens(processors: LogitsProcessorList, input_ids: torch.LongTensor) -> LogitsProcessorList:
    """
    What the scores of the next tokens go through, of which some parts only forbid tokens.

    Args:
        processors (`LogitsProcessorList`): As transformers makes them.
        input_ids (`torch.LongTensor` of shape `(rows, length)`): What the texts begin with.

    Returns:
        `LogitsProcessorList`: Processors that do the same.
    """
    return processors
