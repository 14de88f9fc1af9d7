"""What a sequence-to-sequence model learns from: pairs of sentences."""

import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import DataCollatorForSeq2Seq, PreTrainedTokenizerFast

from ...data.sampling import LengthBatchSampler
from ...data.tokenization import cut_to, warn_of_cut, with_bpe_dropout
from .arguments import TextPairArguments


class TextPairDataset(torch.utils.data.Dataset):
    """
    Examples for `DataCollatorForSeq2Seq`. All pairs are encoded at the beginning; with BPE-dropout also each time
    that they are asked for. A warning says how many sentences are cut.

    Args:
        pairs (`Dataset`):
            With the columns `source` and `target`.
        tokenizer (`PreTrainedTokenizerFast`):
            Encodes both.
        max_source_length, max_target_length (`int`, *optional*):
            Longer sentences lose their end, but keep the closing token.
        bpe_dropout (`float`, *optional*, defaults to 0.0):
            See [`~hf_attention.training.data.tokenization.with_bpe_dropout`].

    Attributes:
        lengths (`list[tuple[int, int]]`):
            Of each pair the longer side's and the target's, in tokens, uncut and
            without dropout.
    """

    def __init__(
        self,
        pairs: Dataset,
        tokenizer: PreTrainedTokenizerFast,
        max_source_length: int | None = None,
        max_target_length: int | None = None,
        bpe_dropout: float = 0.0,
    ):
        self.sources, self.targets = list(pairs["source"]), list(pairs["target"])
        self.encoder = with_bpe_dropout(tokenizer, bpe_dropout) if bpe_dropout else None
        self.cuts = cut_to(max_source_length), cut_to(max_target_length)
        sources = tokenizer(self.sources, verbose=False)["input_ids"]
        targets = tokenizer(text_target=self.targets, verbose=False)["input_ids"]
        # Of batches in which neither side is padded much, those whose targets are alike.
        self.lengths = [(max(len(s), len(t)), len(t)) for s, t in zip(sources, targets, strict=True)]
        self.examples = [*map(_example, sources, targets)]
        for limit, name, sentences in (
            (max_source_length, "max_source_length", sources),
            (max_target_length, "max_target_length", targets),
        ):
            lengths = [len(ids) for ids in sentences]
            warn_of_cut(lengths, limit, "sentences", name)
            rows = [row for row, length in enumerate(lengths) if limit is not None and length > limit]
            for row, example in zip(rows, self._encode(tokenizer, rows) if rows else (), strict=True):
                self.examples[row] = example

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, row: int) -> dict[str, list[int]]:
        return self.__getitems__([row])[0]

    def __getitems__(self, rows: list[int]) -> list[dict[str, list[int]]]:
        """The examples of a batch: a tokenizer is faster with many texts at once than with one at a time."""
        return [self.examples[row] for row in rows] if self.encoder is None else self._encode(self.encoder, rows)

    def _encode(self, tokenizer: PreTrainedTokenizerFast, rows: list[int]) -> list[dict[str, list[int]]]:
        of_source, of_target = self.cuts
        sources = tokenizer([self.sources[row] for row in rows], **of_source, verbose=False)
        targets = tokenizer(text_target=[self.targets[row] for row in rows], **of_target, verbose=False)
        return [*map(_example, sources["input_ids"], targets["input_ids"])]


def _example(source: list[int], target: list[int]) -> dict[str, list[int]]:
    return {"input_ids": source, "attention_mask": [1] * len(source), "labels": target}


def text_pair_dataloader(
    pairs: Dataset,
    tokenizer: PreTrainedTokenizerFast,
    arguments: TextPairArguments,
    seed: int,
    num_workers: int = 0,
) -> DataLoader:
    """The batches of training, pairs of similar length together."""
    dataset = TextPairDataset(
        pairs, tokenizer, arguments.max_source_length, arguments.max_target_length, arguments.bpe_dropout
    )
    sampler = LengthBatchSampler(dataset.lengths, arguments.batch_size, arguments.bucket_batches, seed)
    return DataLoader(
        dataset, batch_sampler=sampler, collate_fn=DataCollatorForSeq2Seq(tokenizer), num_workers=num_workers
    )
