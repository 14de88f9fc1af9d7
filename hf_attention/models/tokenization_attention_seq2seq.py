"""A tokenizer with a vocabulary for the source and another for the target."""

import os
from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer, processors
from transformers import BatchEncoding, PreTrainedTokenizerFast

from .remote_code import CarriesCode
from .special_tokens import end_token_id, name_special_tokens


TARGET_TOKENIZER_FILE = "target_tokenizer.json"


class AttentionSeq2SeqTokenizer(CarriesCode, PreTrainedTokenizerFast):
    """
    A source and a target tokenizer in one. Where both sides share one vocabulary, and the tokenizer closes its texts,
    use a plain [`~transformers.PreTrainedTokenizerFast`] instead.

    A target is its words and the end token, by which a model learns where to stop: where the target's tokenizer does
    not make it so by itself, as GPT-2's and BERT's, its post-processor is replaced by one that does. What is missing
    of end, start and padding is named as [`name_special_tokens`] tells.

    What is encoded as `text` is source, what is encoded as `text_target` is target, and what is decoded is target:

    ```python
    tokenizer("A dog runs.", text_target="Ein Hund rennt.")  # {"input_ids": source, ..., "labels": target}
    tokenizer.batch_decode(model.generate(**inputs), skip_special_tokens=True)
    tokenizer.decode(inputs["input_ids"][0], use_source_tokenizer=True)
    ```

    Everything else (`convert_ids_to_tokens`, `convert_tokens_to_ids`, `tokenize`, `get_vocab`, `vocab_size`, `len`,
    `add_tokens`, `padding_side`, `truncation_side`, …) is the source's. `target_tokenizer` is the target's tokenizer,
    with all these of its own: `tokenizer.target_tokenizer.convert_ids_to_tokens(generated_ids)`.

    Args:
        target_tokenizer_object (`tokenizers.Tokenizer`, *optional*): The target's tokenizer.
        target_tokenizer_file (`str`, *optional*): A file that holds it, as `from_pretrained` passes it.
        kwargs:
            Arguments of [`~transformers.PreTrainedTokenizerFast`]: `tokenizer_object` or `tokenizer_file` for the
            source, and the special tokens, which both sides must know under the same ids.

    Raises:
        ValueError: If there is no target tokenizer, no end token, or a special token has another id in the target.
    """

    vocab_files_names = {"tokenizer_file": "tokenizer.json", "target_tokenizer_file": TARGET_TOKENIZER_FILE}
    _encodes_target = False

    def __init__(
        self,
        *,
        target_tokenizer_object: Tokenizer | None = None,
        target_tokenizer_file: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        name_special_tokens(self)
        if target_tokenizer_object is None and target_tokenizer_file is None:
            raise ValueError(
                "A target tokenizer is missing: pass `target_tokenizer_object`, or load from a folder that holds "
                f"{TARGET_TOKENIZER_FILE}."
            )
        special_tokens = {name: str(token) for name, token in self.special_tokens_map.items()}
        self.target_tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=target_tokenizer_object,
            tokenizer_file=target_tokenizer_file,
            model_max_length=self.model_max_length,
            clean_up_tokenization_spaces=self.clean_up_tokenization_spaces,
            split_special_tokens=self.split_special_tokens,
            **special_tokens,
        )
        for name, token in special_tokens.items():
            source, target = (side.convert_tokens_to_ids(token) for side in (self, self.target_tokenizer))
            if source != target:
                raise ValueError(f"`{name}` {token!r} must have one id on both sides, got {source} and {target}.")

        _close_texts(self.target_tokenizer)

    @classmethod
    def from_tokenizers(
        cls, source: PreTrainedTokenizerFast, target: PreTrainedTokenizerFast, **kwargs: Any
    ) -> "AttentionSeq2SeqTokenizer":
        """
        Puts two tokenizers together.

        Args:
            source ([`~transformers.PreTrainedTokenizerFast`]): Gives the special tokens and the longest length too.
            target ([`~transformers.PreTrainedTokenizerFast`]): Must have the special tokens of `source`, same ids.
            kwargs: Arguments of the new tokenizer that differ from those of `source`.

        Returns:
            [`AttentionSeq2SeqTokenizer`]: It holds copies of both.
        """
        settings = {
            "model_max_length": source.model_max_length,
            "padding_side": source.padding_side,
            "truncation_side": source.truncation_side,
            "clean_up_tokenization_spaces": source.clean_up_tokenization_spaces,
            **source.special_tokens_map,
            **kwargs,
        }
        return cls(
            tokenizer_object=source.backend_tokenizer, target_tokenizer_object=target.backend_tokenizer, **settings
        )

    def train_new_from_iterator(
        self,
        text_iterator: Iterable[list[str]],
        vocab_size: int,
        *args: Any,
        text_target_iterator: Iterable[list[str]] | None = None,
        target_vocab_size: int | None = None,
        **kwargs: Any,
    ) -> "AttentionSeq2SeqTokenizer":
        """
        As [`~transformers.PreTrainedTokenizerFast.train_new_from_iterator`], of the source's tokenizer.

        Args:
            text_iterator (`Iterable[list[str]]`): Batches of source texts.
            vocab_size (`int`): The size of the source's vocabulary.
            text_target_iterator (`Iterable[list[str]]`, *optional*):
                Batches of target texts. Without them the target's tokenizer stays as it is.
            target_vocab_size (`int`, *optional*): The size of the target's vocabulary. Defaults to `vocab_size`.
            args, kwargs: As of the method it overrides, for both.

        Returns:
            [`AttentionSeq2SeqTokenizer`]: A new one.
        """
        settings = {"model_max_length": self.model_max_length, "padding_side": self.padding_side}
        settings |= {"truncation_side": self.truncation_side, **self.special_tokens_map}
        source = PreTrainedTokenizerFast(tokenizer_object=self.backend_tokenizer, **settings)
        source = source.train_new_from_iterator(text_iterator, vocab_size, *args, **kwargs)
        target = self.target_tokenizer
        if text_target_iterator is not None:
            target_vocab_size = vocab_size if target_vocab_size is None else target_vocab_size
            target = target.train_new_from_iterator(text_target_iterator, target_vocab_size, *args, **kwargs)
        return type(self).from_tokenizers(source, target)

    @classmethod
    def convert_to_native_format(cls, **kwargs: Any) -> dict[str, Any]:
        # transformers would take the file apart to rebuild it, for classes that have an `__init__`.
        return kwargs

    def _switch_to_target_mode(self) -> None:
        """transformers calls it before it encodes `text_target`."""
        self._encodes_target = True

    def _encode_plus(self, *args: Any, **kwargs: Any) -> BatchEncoding:
        if not self._encodes_target:
            return super()._encode_plus(*args, **kwargs)
        self._encodes_target = False  # before the work, so that an error leaves nothing behind
        return self.target_tokenizer._encode_plus(*args, **kwargs)

    def _decode(
        self, token_ids: int | list[int], *args: Any, use_source_tokenizer: bool = False, **kwargs: Any
    ) -> str:
        if use_source_tokenizer:
            return super()._decode(token_ids, *args, **kwargs)
        return self.target_tokenizer._decode(token_ids, *args, **kwargs)

    def _save_pretrained(
        self,
        save_directory: str | os.PathLike,
        file_names: tuple[str, ...],
        legacy_format: bool | None = None,
        filename_prefix: str | None = None,
    ) -> tuple[str, ...]:
        file_names = super()._save_pretrained(save_directory, file_names, legacy_format, filename_prefix)
        prefix = f"{filename_prefix}-" if filename_prefix else ""
        target_file = os.path.join(save_directory, prefix + TARGET_TOKENIZER_FILE)
        self.target_tokenizer.backend_tokenizer.save(target_file)
        return (*file_names, target_file)


def _close_texts(tokenizer: PreTrainedTokenizerFast) -> None:
    """Has a tokenizer make of a text its words and the end token, unless it does."""
    words = tokenizer("a", add_special_tokens=False)["input_ids"]
    if tokenizer("a")["input_ids"] != [*words, end_token_id(tokenizer)]:
        end = str(tokenizer.eos_token)
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=f"$A {end}", special_tokens=[(end, tokenizer.eos_token_id)]
        )
