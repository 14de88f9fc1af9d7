"""What training a sequence-to-sequence model adds to the loop: its examples, and validation by generated sentences."""

from collections.abc import Callable, Sequence

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from datasets import Dataset
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import DataCollatorForSeq2Seq, PreTrainedModel, PreTrainedTokenizerFast

from .arguments import TextPairArguments
from .sampling import CaptionBatchSampler, CaptionGroup
from .tokenization import with_bpe_dropout


class TextPairDataset(torch.utils.data.Dataset):
    """Examples for `DataCollatorForSeq2Seq`. A pair is encoded when it is asked for: with BPE-dropout, anew each time.

    Args:
        pairs (`Dataset`): with the columns `source` and `target`.
        tokenizer (`PreTrainedTokenizerFast`): encodes both.
        max_source_length, max_target_length (`int`): longer sentences lose their end, but keep the closing token.
    """

    def __init__(
        self, pairs: Dataset, tokenizer: PreTrainedTokenizerFast, max_source_length: int, max_target_length: int
    ):
        self.sources, self.targets = list(pairs["source"]), list(pairs["target"])
        self.tokenizer = tokenizer
        self.max_source_length = max_source_length
        self.max_target_length = max_target_length

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, group: CaptionGroup) -> dict[str, list[int]]:
        source = self.tokenizer(self.sources[group.image], truncation=True, max_length=self.max_source_length)
        target = self.tokenizer(
            text_target=self.targets[group.image], truncation=True, max_length=self.max_target_length
        )
        return {
            "input_ids": source["input_ids"],
            "attention_mask": source["attention_mask"],
            "labels": target["input_ids"],
        }


def text_pair_dataloader(
    pairs: Dataset,
    tokenizer: PreTrainedTokenizerFast,
    arguments: TextPairArguments,
    seed: int,
    num_workers: int = 0,
) -> DataLoader:
    """The batches of training, pairs of similar length together."""
    # The sampler of captions serves: a source is an image with one caption.
    lengths = zip(
        tokenizer(list(pairs["source"]))["input_ids"],
        tokenizer(text_target=list(pairs["target"]))["input_ids"],
        strict=True,
    )
    sampler = CaptionBatchSampler(
        [[max(len(source), len(target))] for source, target in lengths],
        images_per_batch=arguments.batch_size,
        bucket_batches=arguments.bucket_batches,
        seed=seed,
    )
    encoder = with_bpe_dropout(tokenizer, arguments.bpe_dropout) if arguments.bpe_dropout else tokenizer
    dataset = TextPairDataset(pairs, encoder, arguments.max_source_length, arguments.max_target_length)
    return DataLoader(
        dataset, batch_sampler=sampler, collate_fn=DataCollatorForSeq2Seq(tokenizer), num_workers=num_workers
    )


class TextPairEvaluator:
    """Generates a target for every source of a split and scores it, over all processes.

    Args:
        pairs (`Dataset`): with the columns `source` and `target`.
        tokenizer (`PreTrainedTokenizerFast`): encodes sources, decodes what is generated.
        accelerator (`Accelerator`): processes, device and precision.
        metrics (`Callable`): takes the generated texts and the targets, returns scores.
        batch_size (`int`, *optional*, defaults to 100): sentences at a time.
        max_source_length (`int`, *optional*, defaults to 100): longer sources are cut, in tokens.
    """

    def __init__(
        self,
        pairs: Dataset,
        tokenizer: PreTrainedTokenizerFast,
        accelerator: Accelerator,
        metrics: Callable[[Sequence[str], Sequence[str]], dict[str, float]],
        batch_size: int = 100,
        max_source_length: int = 100,
    ):
        self.sources, self.targets = list(pairs["source"]), list(pairs["target"])
        self.tokenizer = tokenizer
        self.accelerator = accelerator
        self.metrics = metrics
        self.batch_size = batch_size
        self.max_source_length = max_source_length

    @torch.no_grad()
    def texts(self, model: PreTrainedModel, **generate_kwargs) -> list[str]:
        """The generated texts, in the order of the sources; `generate_kwargs` go to `model.generate`."""
        accelerator = self.accelerator
        order = sorted(range(len(self.sources)), key=lambda row: len(self.sources[row]))
        texts = []
        with accelerator.split_between_processes(order) as rows:
            starts = tqdm(
                range(0, len(rows), self.batch_size),
                desc="sentences",
                leave=False,
                disable=not accelerator.is_local_main_process,
            )
            for start in starts:
                batch = rows[start : start + self.batch_size]
                inputs = self.tokenizer(
                    [self.sources[row] for row in batch],
                    padding=True,
                    truncation=True,
                    max_length=self.max_source_length,
                    return_tensors="pt",
                ).to(accelerator.device)
                with accelerator.autocast():
                    sequences = model.generate(
                        inputs["input_ids"], attention_mask=inputs["attention_mask"], **generate_kwargs
                    )
                texts += zip(batch, self.tokenizer.batch_decode(sequences, skip_special_tokens=True), strict=True)
        return [text for _, text in sorted(gather_object(texts))]

    def __call__(self, model: PreTrainedModel, **generate_kwargs) -> dict[str, float]:
        """The scores of the generated texts."""
        return self.metrics(self.texts(model, **generate_kwargs), self.targets)
