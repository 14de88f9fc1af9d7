"""The tokens that pad, begin and end a text, under whatever names a tokenizer has them."""

from transformers import PreTrainedTokenizerBase


def name_special_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    """
    Gives a tokenizer the names that a decoder's training goes by, for tokens that it has under others: what is missing
    of `eos_token`, `bos_token` and `pad_token`. A text ends with BERT's `sep_token`. It begins with BERT's
    `cls_token`, else with the padding, as T5 and Marian start, else with the end. What pads is the end, as is the
    custom with GPT-2. `Trainer` then brings the model into line.

    Args:
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]): It is changed; what it names already stays.
    """
    for name, token in _special_tokens(tokenizer).items():
        if token is not None and getattr(tokenizer, name) is None:
            setattr(tokenizer, name, token)


def special_token_ids(tokenizer: PreTrainedTokenizerBase) -> dict[str, int | None]:
    """
    The numbers of a tokenizer's special tokens, as fields of a model's configuration:

    ```python
    config = AttentionSeq2SeqConfig(vocab_size=len(tokenizer), **special_token_ids(tokenizer))
    ```

    Args:
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            It stays as it is. For a token that it lacks another stands, as [`name_special_tokens`] tells.

    Returns:
        `dict[str, int | None]`: `pad_token_id`, `unk_token_id`, `bos_token_id` and `eos_token_id`.
    """
    tokens = {"unk_token": tokenizer.unk_token, **_special_tokens(tokenizer)}
    return {f"{name}_id": token and tokenizer.convert_tokens_to_ids(token) for name, token in tokens.items()}


def end_token_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """
    What closes a text.

    Args:
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]): The tokenizer.

    Raises:
        ValueError: Where it has no such token.
    """
    if tokenizer.eos_token_id is None:
        raise ValueError(
            "The tokenizer has no token that ends a text, so that a model would not learn where to stop: set "
            '`tokenizer.eos_token`, or add one with `tokenizer.add_special_tokens({"eos_token": "</s>"})`.'
        )
    return tokenizer.eos_token_id


def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, str | None]:
    end = tokenizer.eos_token or tokenizer.sep_token
    return {
        "eos_token": end,
        "bos_token": tokenizer.bos_token or tokenizer.cls_token or tokenizer.pad_token or end,
        "pad_token": tokenizer.pad_token or end,
    }
