"""Validation by generated captions."""

import copy
from collections.abc import Sequence

import torch
from accelerate import Accelerator
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from ....metrics.captioning.captioning import caption_metrics
from ...data.collators import stack_inputs
from ...data.images import PixelSource, RegionSource
from ...loop.evaluation import texts_of_rows


class CaptionEvaluator:
    """
    Generates a caption for every image of a split and scores it, over all processes.

    Args:
        source ([`PixelSource`] or [`RegionSource`]):
            The images.
        references (`Sequence[Sequence[str]]`):
            The captions of each.
        tokenizer (`PreTrainedTokenizerFast`):
            Decodes what is generated.
        accelerator (`Accelerator`):
            Processes, device and precision.
        batch_size (`int`, *optional*, defaults to 100):
            Images at a time.
    """

    def __init__(
        self,
        source: PixelSource | RegionSource,
        references: Sequence[Sequence[str]],
        tokenizer: PreTrainedTokenizerFast,
        accelerator: Accelerator,
        batch_size: int = 100,
    ):
        self.source = source
        self.references = references
        self.tokenizer = tokenizer
        self.accelerator = accelerator
        self.batch_size = batch_size

    def of_one_batch(self) -> "CaptionEvaluator":
        """The same over the first images, a batch for each process."""
        few = copy.copy(self)
        few.references = self.references[: self.batch_size * self.accelerator.num_processes]
        return few

    @torch.no_grad()
    def captions(self, model: PreTrainedModel, **generate_kwargs) -> list[str]:
        """The generated captions, in the order of the images; `generate_kwargs` go to `model.generate`."""
        accelerator = self.accelerator

        def texts_of_batch(rows: list[int]) -> list[str]:
            inputs = stack_inputs([self.source.inputs(row) for row in rows])
            inputs = {name: value.to(accelerator.device) for name, value in inputs.items()}
            with accelerator.autocast():
                sequences = model.generate(**inputs, **generate_kwargs)
            return self.tokenizer.batch_decode(sequences, skip_special_tokens=True)

        return texts_of_rows(range(len(self.references)), texts_of_batch, accelerator, self.batch_size, "captions")

    def __call__(self, model: PreTrainedModel, **generate_kwargs) -> dict[str, float]:
        """The scores of the generated captions, see [`caption_metrics`]."""
        return caption_metrics(self.captions(model, **generate_kwargs), self.references)
