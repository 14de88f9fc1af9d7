"""Validation by answers."""

import copy

import torch
from accelerate import Accelerator
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from ....metrics.vqa_accuracy.vqa_accuracy import answer_metrics
from ...data.images import PixelSource, RegionSource
from ...data.tokenization import most_tokens, warn_of_cut
from ...loop.evaluation import texts_of_rows
from .examples import BlindSource, question_batch, question_lengths
from .questions import Questions


class AnsweringEvaluator:
    """
    Answers the questions of a split and scores the answers, over all processes.

    Args:
        source ([`PixelSource`], [`RegionSource`] or [`BlindSource`]):
            The images.
        questions ([`Questions`]):
            The questions.
        tokenizer (`PreTrainedTokenizerFast`):
            Tokenizes questions, and decodes what is generated. Questions longer than its `model_max_length` are
            cut; a warning says how many.
        accelerator (`Accelerator`):
            Processes, device and precision.
        batch_size (`int`, *optional*, defaults to 100):
            Questions at a time.
    """

    def __init__(
        self,
        source: PixelSource | RegionSource | BlindSource,
        questions: Questions,
        tokenizer: PreTrainedTokenizerFast,
        accelerator: Accelerator,
        batch_size: int = 100,
    ):
        warn_of_cut(question_lengths(questions, tokenizer), most_tokens(tokenizer), "questions")
        self.source = source
        self.questions = questions
        self.tokenizer = tokenizer
        self.accelerator = accelerator
        self.batch_size = batch_size

    def of_one_batch(self) -> "AnsweringEvaluator":
        """The same over some questions, a batch for each process: those of most annotators, for all that is scored."""
        few, count = copy.copy(self), self.batch_size * self.accelerator.num_processes
        rows = sorted(range(len(self.questions)), key=lambda row: -len(self.questions.answers[row]))
        few.questions = self.questions.select(rows[:count])
        return few

    @torch.no_grad()
    def answers(self, model: PreTrainedModel, **generate_kwargs) -> list[str]:
        """The model's answers, in the order of the questions; `generate_kwargs` go to a generating head."""
        accelerator = self.accelerator

        def texts_of_batch(rows: list[int]) -> list[str]:
            batch, places = question_batch(self.source, self.questions, rows, self.tokenizer)
            inputs = {name: value.to(accelerator.device) for name, value in batch.items()}
            with accelerator.autocast():
                if model.can_generate():
                    sequences = model.generate(**inputs, **generate_kwargs)[places]
                    return self.tokenizer.batch_decode(sequences, skip_special_tokens=True)
                numbers = model(**inputs).logits[places].argmax(-1)
            return [model.config.id2label[number] for number in numbers.tolist()]

        return texts_of_rows(range(len(self.questions)), texts_of_batch, accelerator, self.batch_size, "answers")

    def __call__(self, model: PreTrainedModel, **generate_kwargs) -> dict[str, float]:
        """The scores of the model's answers, see [`answer_metrics`]."""
        return answer_metrics(self.answers(model, **generate_kwargs), self.questions.answers)
