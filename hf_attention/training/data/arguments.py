"""How training data is read, and how its tokenizer is made: what several tasks are told alike."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated

from transformers import PreTrainedTokenizerFast

from ...arguments import COUNT, CheckedArguments
from .tokenization import TokenizerType, train_tokenizer


@dataclass
class StreamingArguments(CheckedArguments):
    """Reading the training data as it comes, where it is larger than the disk."""

    streaming: bool = field(
        default=False,
        metadata={"help": "Read training data as it comes, never keeping all of it. The run has max_steps then."},
    )
    shuffle_buffer: Annotated[int, COUNT] = field(
        default=10000, metadata={"help": "Rows that are read at a time, and shuffled among themselves."}
    )
    tokenizer_rows: Annotated[int, COUNT] = field(
        default=100000, metadata={"help": "Train the tokenizer on so many of the first rows, where none is named."}
    )
    steps_per_epoch: Annotated[int, COUNT] = field(
        default=1000, metadata={"help": "Steps after which comes what follows an epoch: validation, a checkpoint."}
    )

    def check(self, max_steps: int | None, num_workers: int) -> None:
        """Raises a ValueError if a run of so many steps, with so many workers, cannot be streamed."""
        if self.streaming and max_steps is None:
            raise ValueError("`streaming` needs `max_steps`: it is not known beforehand how long an epoch is.")
        if self.streaming and num_workers > 1:
            raise ValueError(
                f"`dataloader_num_workers` must be 0 or 1 with `streaming`, which has one order, got {num_workers}."
            )


@dataclass
class TokenizerArguments(CheckedArguments):
    """The tokenizer: a ready one, or one trained on the training texts by the other options."""

    tokenizer_name: str | None = field(
        default=None, metadata={"help": "Folder, shipped model or Hub name of a ready tokenizer."}
    )
    tokenizer_type: TokenizerType = field(
        default="word",
        metadata={
            "help": "word: lower-cased words without punctuation; word_punct: words and marks; space: what "
            "white space separates; bpe: byte-level BPE; unigram: pieces of words."
        },
    )
    min_count: Annotated[int, COUNT] = field(default=5, metadata={"help": "Rarer words (BPE: merges) are left out."})
    vocab_size: Annotated[int, COUNT] = field(default=10000, metadata={"help": "Largest vocabulary."})
    lowercase: bool = field(default=False, metadata={"help": "Lower-case the texts; word does so anyway."})

    def train(self, texts: Iterable[str]) -> PreTrainedTokenizerFast:
        """A tokenizer trained on these texts."""
        return train_tokenizer(texts, self.tokenizer_type, self.vocab_size, self.min_count, self.lowercase)
