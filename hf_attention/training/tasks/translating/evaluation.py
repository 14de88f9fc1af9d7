"""Validation by generated sentences, and by the perplexity of the true ones."""

import copy
from collections.abc import Iterable
from typing import TypeVar

import torch
from accelerate import Accelerator
from datasets import Dataset
from torch.nn import functional as F
from transformers import DataCollatorForSeq2Seq, PreTrainedModel, PreTrainedTokenizerFast

from ....metrics.chat import chat_metrics
from ....metrics.languages import bleu_tokenizer
from ....metrics.translation.translation import translation_metrics, translation_signatures
from ...data.tokenization import cut_to, most_tokens, warn_of_cut
from ...loop.evaluation import texts_of_rows
from .examples import TextPairDataset


Evaluator = TypeVar("Evaluator", bound="TextPairEvaluator")


class TextPairEvaluator:
    """
    What a model makes of a split, over all processes: a text for every source.

    Args:
        pairs (`Dataset`):
            With the columns `source` and `target`.
        tokenizer (`PreTrainedTokenizerFast`):
            Encodes sources, decodes what is generated. Sources longer than its `model_max_length` are cut; a warning
            says how many.
        accelerator (`Accelerator`):
            Processes, device and precision.
        batch_size (`int`, *optional*, defaults to 100):
            Sentences at a time.
    """

    def __init__(
        self,
        pairs: Dataset,
        tokenizer: PreTrainedTokenizerFast,
        accelerator: Accelerator,
        batch_size: int = 100,
    ):
        self.sources, self.targets = list(pairs["source"]), list(pairs["target"])
        self.tokenizer = tokenizer
        self.most_tokens = most_tokens(tokenizer)
        ids = tokenizer(self.sources, verbose=False)["input_ids"]
        warn_of_cut([*map(len, ids)], self.most_tokens, "sources")
        self.accelerator = accelerator
        self.batch_size = batch_size
        # How each score is computed, where there is a standard way of saying it.
        self.signatures: dict[str, str] = {}

    def of_one_batch(self: Evaluator) -> Evaluator:
        """The same over the first pairs, a batch for each process."""
        few, count = copy.copy(self), self.batch_size * self.accelerator.num_processes
        few.sources, few.targets = self.sources[:count], self.targets[:count]
        return few

    @torch.no_grad()
    def texts(self, model: PreTrainedModel, **generate_kwargs) -> list[str]:
        """The generated texts, in the order of the sources; `generate_kwargs` go to `model.generate`."""
        accelerator = self.accelerator

        def texts_of_batch(rows: list[int]) -> list[str]:
            inputs = self.tokenizer(
                [self.sources[row] for row in rows],
                padding=True,
                return_tensors="pt",
                **cut_to(self.most_tokens),
            ).to(accelerator.device)
            with accelerator.autocast():
                sequences = model.generate(
                    inputs["input_ids"], attention_mask=inputs["attention_mask"], **generate_kwargs
                )
            return self.tokenizer.batch_decode(sequences, skip_special_tokens=True)

        order = sorted(range(len(self.sources)), key=lambda row: len(self.sources[row]))
        return texts_of_rows(order, texts_of_batch, accelerator, self.batch_size, "sentences")


class TranslationEvaluator(TextPairEvaluator):
    """
    Scores translations by [`translation_metrics`].

    Args:
        tokenize (`str`, *optional*):
            SacreBLEU's tokenizer for BLEU. By default that of the language: [`bleu_tokenizer`].
        language (`str`, *optional*):
            Code of the target language. By default it is told by the script of the targets.

    The others are the base's.
    """

    def __init__(self, *args, tokenize: str | None = None, language: str | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        self.tokenize = tokenize or bleu_tokenizer(self.targets, language)
        self.signatures = translation_signatures(self.tokenize)

    def __call__(self, model: PreTrainedModel, **generate_kwargs) -> dict[str, float]:
        return translation_metrics(self.texts(model, **generate_kwargs), self.targets, self.tokenize)


class ChatEvaluator(TextPairEvaluator):
    """
    Scores replies by [`chat_metrics`], and the model by the perplexity of the true ones.

    Args:
        training_answers (`Iterable[str]`):
            The answers that the model was trained on.
        max_target_length (`int`, *optional*):
            To so many tokens the true replies are cut.

    The others are the base's.
    """

    def __init__(
        self,
        pairs: Dataset,
        tokenizer: PreTrainedTokenizerFast,
        *args,
        training_answers: Iterable[str],
        max_target_length: int | None = None,
        **kwargs,
    ):
        super().__init__(pairs, tokenizer, *args, **kwargs)
        self.examples = TextPairDataset(pairs, tokenizer, self.most_tokens, max_target_length)
        self.training_answers = list(training_answers)

    def __call__(self, model: PreTrainedModel, **generate_kwargs) -> dict[str, float]:
        replies = self.texts(model, **generate_kwargs)
        return {"perplexity": self.perplexity(model), **chat_metrics(replies, self.training_answers)}

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
                batch = batch.to(accelerator.device)
                with accelerator.autocast():
                    logits = model(**batch).logits
                loss = F.cross_entropy(logits.float().flatten(0, 1), batch["labels"].flatten(), reduction="sum")
                totals += torch.stack([loss.double(), num_tokens.double()])
        loss, num_tokens = accelerator.reduce(totals, reduction="sum")
        return float((loss / num_tokens).exp())
