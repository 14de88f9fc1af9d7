"""Tokenizers trained on the texts at hand."""

import copy
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from accelerate import Accelerator
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers.tokenization_utils_base import LARGE_INTEGER

from ...metrics.words import WORD
from ...models.special_tokens import end_token_id, name_special_tokens
from ...shipped import find_checkpoint
from ..files import replace_folder


SPECIAL_TOKENS = ("<pad>", "<unk>", "<s>", "</s>")
# A word with its inner hyphens, or a single mark; "▁" before it stands for the space it follows.
WORD_OR_MARK = r"▁?(?:\w+(?:-\w+)*|.)"
BYTE_PIECES = tuple(f"<0x{byte:02X}>" for byte in range(256))

TOKENIZER_FOLDER = "tokenizer"
MANY_UNKNOWN = 0.1  # a share of the words
MOST_CHARACTERS = 10_000  # of a text that is looked at

logger = logging.getLogger(__name__)

TokenizerType = Literal["word", "word_punct", "space", "bpe", "unigram"]
AnyFastTokenizer = TypeVar("AnyFastTokenizer", bound=PreTrainedTokenizerFast)


def train_tokenizer(
    texts: Iterable[str],
    tokenizer_type: TokenizerType = "word",
    vocab_size: int = 10000,
    min_count: int = 1,
    lowercase: bool = False,
) -> PreTrainedTokenizerFast:
    """
    Trains a tokenizer whose encodings end with `</s>` and whose decoded text needs no cleaning.

    - `"word"`: lower-cased words, with inner hyphens and apostrophes (`t-shirt`, `dog's`), as captions need them;
      punctuation is dropped and rare words become `<unk>`.
    - `"word_punct"`: words with inner hyphens, and every mark a token of its own (`can ' t`); rare words and marks
      become `<unk>`. Decoding gives the text back, with one space for each run of white space.
    - `"space"`: whatever white space separates, as it stands, for texts that are cut into words already; `<unk>` in
      them is the unknown token.
    - `"bpe"`: byte-level BPE. Nothing is unknown; decoding gives the text back, but for one space at its start.
    - `"unigram"`: pieces of words, and bytes for characters that the training texts lack. Nothing is unknown;
      decoding gives the text back, with one space for each run of white space.

    All put characters into Unicode's composed form (NFC). In `"word_punct"` and `"unigram"` a token that follows a
    space begins with `▁`, so the spaces around marks, and within contractions, come back as they were; a `▁` in the
    text itself becomes a space.

    Args:
        texts (`Iterable[str]`):
            The training texts.
        tokenizer_type (`str`, *optional*, defaults to `"word"`):
            One of the above.
        vocab_size (`int`, *optional*, defaults to 10000):
            Largest size of the vocabulary, special tokens included.
        min_count (`int`, *optional*, defaults to 1):
            How often a word (`"bpe"`: a pair to merge) must occur. `"unigram"` has no such limit.
        lowercase (`bool`, *optional*, defaults to `False`):
            Lower-cases the texts; `"word"` always does.

    Returns:
        `PreTrainedTokenizerFast`: With `<pad>` 0, `<unk>` 1, `<s>` 2, `</s>` 3.

    Raises:
        ValueError:
            If the type is unknown, the vocabulary too small, no word is frequent enough, or `min_count` is asked of
            `"unigram"`.
    """
    if tokenizer_type in ("word", "word_punct", "space"):
        tokenizer = _train_words(texts, tokenizer_type, vocab_size, min_count, lowercase)
    elif tokenizer_type == "bpe":
        tokenizer = _train_bpe(texts, vocab_size, min_count, lowercase)
    elif tokenizer_type == "unigram":
        if min_count != 1:
            raise ValueError(
                f"`min_count` must be 1 for a unigram tokenizer, which has no such limit, got {min_count}."
            )
        tokenizer = _train_unigram(texts, vocab_size, lowercase)
    else:
        raise ValueError(f"`tokenizer_type` must be one of {get_args(TokenizerType)}, got {tokenizer_type!r}.")
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


def load_tokenizer(
    name: str,
    special_tokens: Sequence[str] = ("pad_token", "bos_token", "eos_token"),
    closes_texts: bool = False,
) -> PreTrainedTokenizerFast:
    """
    Loads a ready tokenizer. Where it needs a `bos_token`, as for a decoder, what it lacks is named after special
    tokens that it has: see [`name_special_tokens`].

    Args:
        name (`str`):
            Folder, shipped model or name on the Hub.
        special_tokens (`Sequence[str]`, *optional*):
            The special tokens that it must have; by default those that a decoder needs.
        closes_texts (`bool`, *optional*, defaults to `False`):
            Whether it must end a text with its `eos_token` by itself, so that a model learns where to stop. Captions
            and answers are closed where it does not.

    Raises:
        ValueError: If the tokenizer lacks such a token, or does not close a text.
    """
    tokenizer = AutoTokenizer.from_pretrained(find_checkpoint(name))
    if "bos_token" in special_tokens:
        name_special_tokens(tokenizer)
    missing = [token for token in special_tokens if getattr(tokenizer, token) is None]
    if missing:
        raise ValueError(f"The tokenizer {name!r} has no {' and no '.join(missing)}.")
    if closes_texts and tokenizer(text_target="a")["input_ids"][-1:] != [tokenizer.eos_token_id]:
        raise ValueError(
            f"The tokenizer {name!r} does not close a text with its end token, {tokenizer.eos_token!r}: a model would "
            "not learn where to stop. Save one that does: `AttentionSeq2SeqTokenizer.from_tokenizers(it, it)`."
        )
    return tokenizer


def warn_of_unknown_words(tokenizer: PreTrainedTokenizerFast, texts: Iterable[str], name: str) -> None:
    """
    Warns where a tokenizer does not know many words of the texts that a model is to be trained on: it neither learns
    nor writes them.

    Args:
        tokenizer (`PreTrainedTokenizerFast`): The tokenizer.
        texts (`Iterable[str]`): The texts, of which the first thousand are looked at.
        name (`str`): What they are.
    """
    first = [text[:MOST_CHARACTERS] for text in islice(texts, 1000)]
    if tokenizer.unk_token_id is None or not first:
        return
    tokens = [*chain.from_iterable(tokenizer(first, add_special_tokens=False, verbose=False)["input_ids"])]
    share = tokens.count(tokenizer.unk_token_id) / max(len(tokens), 1)
    if share > MANY_UNKNOWN:
        logger.warning(
            "The tokenizer does not know %.0f %% of the words of the %s: the model neither learns nor writes them.",
            100 * share,
            name,
        )


def most_tokens(tokenizer: PreTrainedTokenizerFast) -> int | None:
    """
    How many tokens of a text a model is to read, the closing one included, as its tokenizer's `model_max_length` says;
    `None`: all.

    Args:
        tokenizer (`PreTrainedTokenizerFast`): The tokenizer.
    """
    return tokenizer.model_max_length if tokenizer.model_max_length < LARGE_INTEGER else None


def cut_to(limit: int | None) -> dict[str, Any]:
    """The arguments with which a tokenizer leaves so many tokens of a text; `None`: all."""
    return {} if limit is None else {"truncation": True, "max_length": limit}


def warn_of_cut(lengths: Sequence[int], limit: int | None, texts: str, argument: str | None = None) -> None:
    """
    Warns of texts that lose their end.

    Args:
        lengths (`Sequence[int]`): How many tokens each has.
        limit (`int`, *optional*): How many are left; `None`: all.
        texts (`str`): What they are.
        argument (`str`, *optional*): The option that says so.
    """
    num_cut = 0 if limit is None else sum(length > limit for length in lengths)
    if num_cut:
        logger.warning(
            "%d of %d %s are longer than %s%d tokens: they lose their end.",
            num_cut,
            len(lengths),
            texts,
            "" if argument is None else f"`{argument}`, ",
            limit,
        )


def closed_texts(
    tokenizer: PreTrainedTokenizerFast, texts: list[str], max_length: int | None = None
) -> list[list[int]]:
    """
    Texts that a model is to learn, as the processors make them labels: their words and the end token, whatever the
    tokenizer adds by itself.

    Args:
        tokenizer (`PreTrainedTokenizerFast`): The tokenizer.
        texts (`list[str]`): The texts.
        max_length (`int`, *optional*): What a longer one is cut to, the end token included.
    """
    end, words = end_token_id(tokenizer), tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    return [[*(ids if max_length is None else ids[: max_length - 1]), end] for ids in words]


def tokenizer_of_run(
    make: Callable[[], PreTrainedTokenizerFast], output_dir: Path, resumes: bool, accelerator: Accelerator
) -> PreTrainedTokenizerFast:
    """
    The one tokenizer of a training run, whatever processes it has and however often it is resumed: training a
    unigram tokenizer twice gives two.

    Args:
        make (`Callable`):
            Makes the tokenizer; called on the main process, unless the run resumes.
        output_dir (`Path`):
            Folder of the run, where the tokenizer is saved at once, in a folder of its own that every checkpoint
            takes along.
        resumes (`bool`):
            Whether it lies there already.
        accelerator (`Accelerator`):
            The processes.

    Returns:
        `PreTrainedTokenizerFast`
    """
    folder = output_dir / TOKENIZER_FOLDER
    if accelerator.is_main_process and not resumes:
        tokenizer = make()
        replace_folder(folder, tokenizer.save_pretrained)
    accelerator.wait_for_everyone()
    return AutoTokenizer.from_pretrained(folder)


def for_running_text(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """
    The tokenizer of a language model: its texts begin with the end of the sentence before, `</s>`, where they go
    on, and are padded on the left. Decoded words keep the space before them: what is generated is put behind the text
    that it goes on from.

    Args:
        tokenizer (`PreTrainedTokenizerFast`):
            As [`train_tokenizer`] makes it.
    """
    backend, end = tokenizer.backend_tokenizer, tokenizer.eos_token
    if isinstance(backend.model, models.WordLevel) and backend.decoder is None:  # whole words
        steps = [decoders.Replace(Regex("^"), " "), decoders.Fuse()]
    elif isinstance(backend.model, models.BPE):
        steps = [decoders.ByteLevel()]
    else:
        steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence(steps)
    backend.post_processor = processors.TemplateProcessing(
        single=f"{end} $A", special_tokens=[(end, tokenizer.eos_token_id)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=tokenizer.pad_token,
        unk_token=tokenizer.unk_token,
        bos_token=end,
        eos_token=end,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def with_bpe_dropout(tokenizer: AnyFastTokenizer, dropout: float) -> AnyFastTokenizer:
    """
    A copy that leaves each merge out with a probability, so that a text is cut differently every time (BPE-dropout,
    Provilkov et al. 2020). It is for encoding while training: save and evaluate with the tokenizer itself.

    The `tokenizers` library draws the merges to leave out, from a generator that takes no seed: the same run gives
    other weights the next time.

    Args:
        tokenizer (`PreTrainedTokenizerFast`):
            A BPE tokenizer. Of one with a target vocabulary, [`AttentionSeq2SeqTokenizer`], both sides drop.
        dropout (`float`):
            The probability, from 0 to 1.

    Returns:
        `PreTrainedTokenizerFast`: Of the same class; `tokenizer` stays as it is.

    Raises:
        ValueError: If `dropout` is not a probability, or a side is no BPE tokenizer.
    """
    if not 0 <= dropout <= 1:
        raise ValueError(f"`dropout` must be from 0 to 1, got {dropout}.")
    tokenizer = copy.deepcopy(tokenizer)
    target = getattr(tokenizer, "target_tokenizer", None)
    for side in (tokenizer, target) if target is not None else (tokenizer,):
        model = side.backend_tokenizer.model
        if not isinstance(model, models.BPE):
            raise ValueError(f"`tokenizer` must be a BPE tokenizer for `dropout`, got one of {type(model).__name__}.")
        model.dropout = dropout
    return tokenizer


def _normalizer(lowercase: bool, squeeze: bool = False) -> normalizers.Normalizer:
    steps = [normalizers.NFC()]
    if lowercase:
        steps.append(normalizers.Lowercase())
    if squeeze:
        steps += [normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    return normalizers.Sequence(steps)


def _train_words(
    texts: Iterable[str], tokenizer_type: TokenizerType, vocab_size: int, min_count: int, lowercase: bool
) -> Tokenizer:
    if vocab_size <= len(SPECIAL_TOKENS):
        raise ValueError(f"`vocab_size` must exceed the {len(SPECIAL_TOKENS)} special tokens, got {vocab_size}.")
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    if tokenizer_type == "space":
        tokenizer.normalizer = _normalizer(lowercase)
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        # As words, the special tokens that a text may hold already would be given another number.
        texts = (" ".join(word for word in text.split() if word not in SPECIAL_TOKENS) for text in texts)
    elif tokenizer_type == "word_punct":
        tokenizer.normalizer = _normalizer(lowercase, squeeze=True)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Metaspace(), pre_tokenizers.Split(Regex(WORD_OR_MARK), behavior="isolated")]
        )
        tokenizer.decoder = decoders.Metaspace()
    else:
        tokenizer.normalizer = _normalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(WORD), behavior="removed", invert=True)
    trainer = trainers.WordLevelTrainer(
        vocab_size=vocab_size, min_frequency=min_count, special_tokens=list(SPECIAL_TOKENS), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() <= len(SPECIAL_TOKENS):
        raise ValueError(f"No word occurs `min_count`={min_count} times in the training texts.")
    return tokenizer


def _train_bpe(texts: Iterable[str], vocab_size: int, min_count: int, lowercase: bool) -> Tokenizer:
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if vocab_size < len(alphabet) + len(SPECIAL_TOKENS):
        least = len(alphabet) + len(SPECIAL_TOKENS)
        raise ValueError(f"`vocab_size` must be at least {least} for byte-level BPE, got {vocab_size}.")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = _normalizer(lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    # ByteLevel joins the tokens to one text, from which Strip takes the space that was put before the first word.
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_count,
        initial_alphabet=alphabet,
        special_tokens=list(SPECIAL_TOKENS),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _train_unigram(texts: Iterable[str], vocab_size: int, lowercase: bool) -> Tokenizer:
    least = len(SPECIAL_TOKENS) + len(BYTE_PIECES)
    if vocab_size <= least:
        raise ValueError(f"`vocab_size` must exceed {least} for a unigram tokenizer, got {vocab_size}.")
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = _normalizer(lowercase, squeeze=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size - len(BYTE_PIECES),
        special_tokens=list(SPECIAL_TOKENS),
        unk_token="<unk>",
        show_progress=False,
    )
    try:
        tokenizer.train_from_iterator(texts, trainer)
    except Exception as error:  # the library raises nothing narrower
        if "not large enough" not in str(error):
            raise
        raise ValueError(
            f"`vocab_size`={vocab_size} is too small for a unigram tokenizer of these texts: it must hold each of "
            f"their characters beside {least} special tokens and bytes."
        ) from error
    # The trainer knows no bytes: add them to what it has found, less likely than any piece.
    pieces = [(piece, score) for piece, score in json.loads(tokenizer.to_str())["model"]["vocab"]]
    lowest = min(score for _, score in pieces)
    pieces += [(piece, lowest - 1) for piece in BYTE_PIECES]
    tokenizer.model = models.Unigram(pieces, unk_id=SPECIAL_TOKENS.index("<unk>"), byte_fallback=True)
    return tokenizer
