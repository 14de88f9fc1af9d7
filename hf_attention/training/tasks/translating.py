"""What training a sequence-to-sequence model adds to the loop: its examples, and validation by generated sentences."""

import logging
from collections.abc import Iterable

import torch
from accelerate import Accelerator
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import DataCollatorForSeq2Seq, PreTrainedModel, PreTrainedTokenizerFast

from ...metrics.translation.translation import translation_metrics
from ..arguments import TextPairArguments
from ..data.sampling import LengthBatchSampler
from ..data.tokenization import with_bpe_dropout
from ..loop.evaluation import texts_of_rows
from .chat_metrics import chat_metrics


logger = logging.getLogger(__name__)


class TextPairDataset(torch.utils.data.Dataset):
    """
    Examples for `DataCollatorForSeq2Seq`. All pairs are encoded at the beginning; with BPE-dropout also each time
    that they are asked for. A warning says how many sentences are cut.

    Args:
        pairs (`Dataset`):
            With the columns `source` and `target`.
        tokenizer (`PreTrainedTokenizerFast`):
            Encodes both.
        max_source_length, max_target_length (`int`):
            Longer sentences lose their end, but keep the closing token.
        bpe_dropout (`float`, *optional*, defaults to 0.0):
            See [`~hf_attention.training.data.tokenization.with_bpe_dropout`].

    Attributes:
        lengths (`list[tuple[int, int]]`):
            Of each pair the longer side's and the target's, in tokens, uncut and
            without dropout.
        num_cut (`dict[str, int]`):
            How many sentences are longer than `max_source_length` and `max_target_length`.
    """

    def __init__(
        self,
        pairs: Dataset,
        tokenizer: PreTrainedTokenizerFast,
        max_source_length: int,
        max_target_length: int,
        bpe_dropout: float = 0.0,
    ):
        self.sources, self.targets = list(pairs["source"]), list(pairs["target"])
        self.encoder = with_bpe_dropout(tokenizer, bpe_dropout) if bpe_dropout else None
        self.limits = {"max_source_length": max_source_length, "max_target_length": max_target_length}
        sources, targets = tokenizer(self.sources)["input_ids"], tokenizer(text_target=self.targets)["input_ids"]
        # Of batches in which neither side is padded much, those whose targets are alike.
        self.lengths = [(max(len(s), len(t)), len(t)) for s, t in zip(sources, targets, strict=True)]
        self.examples = [*map(_example, sources, targets)]
        cut = {}
        for name, sentences in (("max_source_length", sources), ("max_target_length", targets)):
            cut[name] = [row for row, ids in enumerate(sentences) if len(ids) > self.limits[name]]
        self.num_cut = {name: len(rows) for name, rows in cut.items()}
        for name, rows in cut.items():
            if not rows:
                continue
            logger.warning(
                "%d of %d sentences are longer than `%s`, %d tokens: they lose their end.",
                len(rows),
                len(sources),
                name,
                self.limits[name],
            )
            for row, example in zip(rows, self._encode(tokenizer, rows), strict=True):
                self.examples[row] = example

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, row: int) -> dict[str, list[int]]:
        return self.__getitems__([row])[0]

    def __getitems__(self, rows: list[int]) -> list[dict[str, list[int]]]:
        """The examples of a batch: a tokenizer is faster with many texts at once than with one at a time."""
        return [self.examples[row] for row in rows] if self.encoder is None else self._encode(self.encoder, rows)

    def _encode(self, tokenizer: PreTrainedTokenizerFast, rows: list[int]) -> list[dict[str, list[int]]]:
        limits = self.limits
        sources = tokenizer(
            [self.sources[row] for row in rows], truncation=True, max_length=limits["max_source_length"]
        )
        targets = tokenizer(
            text_target=[self.targets[row] for row in rows], truncation=True, max_length=limits["max_target_length"]
        )
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


class TextPairEvaluator:
    """
    What a model makes of a split, over all processes: a text for every source, and the perplexity of the targets.

    Args:
        pairs (`Dataset`):
            With the columns `source` and `target`.
        tokenizer (`PreTrainedTokenizerFast`):
            Encodes sources, decodes what is generated.
        accelerator (`Accelerator`):
            Processes, device and precision.
        batch_size (`int`, *optional*, defaults to 100):
            Sentences at a time.
        max_source_length, max_target_length (`int`, *optional*, defaults to 100):
            Longer sentences are cut, in tokens.
    """

    def __init__(
        self,
        pairs: Dataset,
        tokenizer: PreTrainedTokenizerFast,
        accelerator: Accelerator,
        batch_size: int = 100,
        max_source_length: int = 100,
        max_target_length: int = 100,
    ):
        self.examples = TextPairDataset(pairs, tokenizer, max_source_length, max_target_length)
        self.sources, self.targets = self.examples.sources, self.examples.targets
        self.tokenizer = tokenizer
        self.accelerator = accelerator
        self.batch_size = batch_size
        self.max_source_length = max_source_length

    @torch.no_grad()
    def texts(self, model: PreTrainedModel, **generate_kwargs) -> list[str]:
        """The generated texts, in the order of the sources; `generate_kwargs` go to `model.generate`."""
        accelerator = self.accelerator

        def texts_of_batch(rows: list[int]) -> list[str]:
            inputs = self.tokenizer(
                [self.sources[row] for row in rows],
                padding=True,
                truncation=True,
                max_length=self.max_source_length,
                return_tensors="pt",
            ).to(accelerator.device)
            with accelerator.autocast():
                sequences = model.generate(
                    inputs["input_ids"], attention_mask=inputs["attention_mask"], **generate_kwargs
                )
            return self.tokenizer.batch_decode(sequences, skip_special_tokens=True)

        order = sorted(range(len(self.sources)), key=lambda row: len(self.sources[row]))
        return texts_of_rows(order, texts_of_batch, accelerator, self.batch_size, "sentences")

    @torch.no_grad()
    def perplexity(self, model: PreTrainedModel) -> float:
        """Of the targets given their sources, by token, the closing one included."""
        accelerator = self.accelerator
        collate = DataCollatorForSeq2Seq(self.tokenizer)
        order = sorted(range(len(self.sources)), key=lambda row: len(self.targets[row]))
        totals = torch.zeros(2, dtype=torch.double, device=accelerator.device)  # loss of all tokens, their number
        with accelerator.split_between_processes(order) as rows:
            for start in range(0, len(rows), self.batch_size):
                batch = collate([self.examples[row] for row in rows[start : start + self.batch_size]])
                num_tokens = (batch["labels"] != -100).sum()
                with accelerator.autocast():
                    loss = model(**batch.to(accelerator.device), num_items_in_batch=1).loss
                totals += torch.stack([loss.double(), num_tokens.double()])
        loss, num_tokens = accelerator.reduce(totals, reduction="sum")
        return float((loss / num_tokens).exp())


class TranslationEvaluator(TextPairEvaluator):
    """Scores translations by [`translation_metrics`]; the arguments are the base's."""

    def __call__(self, model: PreTrainedModel, **generate_kwargs) -> dict[str, float]:
        return translation_metrics(self.texts(model, **generate_kwargs), self.targets)


class ChatEvaluator(TextPairEvaluator):
    """
    Scores replies by [`chat_metrics`], and the model by the perplexity of the true ones.

    Args:
        training_answers (`Iterable[str]`):
            The answers that the model was trained on.

    The others are the base's.
    """

    def __init__(self, *args, training_answers: Iterable[str], **kwargs):
        super().__init__(*args, **kwargs)
        self.training_answers = list(training_answers)

    def __call__(self, model: PreTrainedModel, **generate_kwargs) -> dict[str, float]:
        replies = self.texts(model, **generate_kwargs)
        return {"perplexity": self.perplexity(model), **chat_metrics(replies, self.training_answers)}
