"""Tokenizers trained on the texts at hand."""

from collections.abc import Iterable
from typing import Literal

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast


SPECIAL_TOKENS = ("<pad>", "<unk>", "<s>", "</s>")
WORD = r"\w+(?:[-']\w+)*"


def train_tokenizer(
    texts: Iterable[str],
    tokenizer_type: Literal["word", "bpe"] = "word",
    vocab_size: int = 10000,
    min_count: int = 1,
) -> PreTrainedTokenizerFast:
    """Trains a tokenizer whose encodings end with `</s>` and whose decoded text needs no cleaning.

    Args:
        texts (`Iterable[str]`): the training texts.
        tokenizer_type (`str`, *optional*, defaults to `"word"`):
            `"word"`: lower-cased words, with inner hyphens and apostrophes (`t-shirt`, `dog's`); punctuation is
            dropped and rare words become `<unk>`. `"bpe"`: byte-level BPE, which keeps case and punctuation.
        vocab_size (`int`, *optional*, defaults to 10000): largest size of the vocabulary, special tokens included.
        min_count (`int`, *optional*, defaults to 1): how often a word (BPE: a pair to merge) must occur.

    Returns:
        `PreTrainedTokenizerFast`: with `<pad>` 0, `<unk>` 1, `<s>` 2, `</s>` 3.

    Raises:
        ValueError: if the type is unknown, the vocabulary too small, or no word is frequent enough.
    """
    special = {"special_tokens": list(SPECIAL_TOKENS), "vocab_size": vocab_size, "min_frequency": min_count}
    if tokenizer_type == "word":
        if vocab_size <= len(SPECIAL_TOKENS):
            raise ValueError(f"`vocab_size` must exceed the {len(SPECIAL_TOKENS)} special tokens, got {vocab_size}.")
        tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(WORD), behavior="removed", invert=True)
        trainer = trainers.WordLevelTrainer(show_progress=False, **special)
    elif tokenizer_type == "bpe":
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        if vocab_size < len(alphabet) + len(SPECIAL_TOKENS):
            least = len(alphabet) + len(SPECIAL_TOKENS)
            raise ValueError(f"`vocab_size` must be at least {least} for byte-level BPE, got {vocab_size}.")
        tokenizer = Tokenizer(models.BPE())
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        # ByteLevel joins the tokens to one text, from which Strip takes the space that was put before the first word.
        tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
        trainer = trainers.BpeTrainer(initial_alphabet=alphabet, show_progress=False, **special)
    else:
        raise ValueError(f"`tokenizer_type` must be 'word' or 'bpe', got {tokenizer_type!r}.")
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() <= len(SPECIAL_TOKENS):
        raise ValueError(f"No word occurs `min_count`={min_count} times in the training texts.")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        clean_up_tokenization_spaces=False,
    )
