"""Strings that end a generated text, in vocabularies of whole words too."""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase, StopStringCriteria


class StopAtStrings(StopStringCriteria):
    """
    As transformers' criterion, which learns how a token reads by putting it behind `"abcdef"`: a vocabulary of words
    reads that as unknown. Here it is put behind a word of the vocabulary. Of a tokenizer with a vocabulary a side the
    target's is read, in which texts are generated.

    Args:
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]): The tokenizer of what is generated.
        stop_strings (`str` or `Sequence[str]`): The strings.

    Raises:
        ValueError: Where no token of the vocabulary reads back, or none can be part of a string.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop_strings: str | Sequence[str]):
        super().__init__(getattr(tokenizer, "target_tokenizer", tokenizer), stop_strings)

    @staticmethod
    def clean_tokenizer_vocab(tokenizer: PreTrainedTokenizerBase, static_prefix: str = "abcdef", **kwargs: Any):
        """How each token reads, and its id."""
        words = (tokenizer.convert_tokens_to_string([token]).strip() for token in tokenizer.get_vocab())
        for prefix in (static_prefix, *words):
            if prefix and _reads_back(tokenizer, prefix):
                return StopStringCriteria.clean_tokenizer_vocab(tokenizer, prefix, **kwargs)
        raise ValueError("`stop_strings`: the tokenizer has no token that reads back as it was written.")


def _reads_back(tokenizer: PreTrainedTokenizerBase, text: str) -> bool:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    is_known = not set(ids) & set(tokenizer.all_special_ids)
    return is_known and text in tokenizer.convert_tokens_to_string(tokenizer.convert_ids_to_tokens(ids))
