"""What an answering model learns from: images with some of their questions, and the answers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerFast

from ....metrics.vqa_accuracy.vqa_accuracy import most_common
from ...data.collators import stack_inputs
from ...data.images import PixelSource, RegionSource
from ...data.sampling import CaptionBatchSampler, CaptionGroup
from ...data.tokenization import closed_texts, cut_to, most_tokens, warn_of_cut
from ...loop.objective import Objective
from .questions import Questions, mirrored_text


class BlindSource:
    """
    Images that show nothing: what the question alone answers.

    Args:
        source ([`RegionSource`]):
            Whose images are hidden.
    """

    def __init__(self, source: RegionSource):
        self.source = source

    def inputs(self, row: int, mirrored: bool = False, crop: int = 0) -> dict[str, torch.Tensor]:
        """The model's input for one image: its regions, all zeros."""
        return {name: torch.zeros_like(value) for name, value in self.source.inputs(row, mirrored, crop).items()}


class AnsweringDataset(torch.utils.data.Dataset):
    """
    Examples for [`AnsweringCollator`], by [`CaptionGroup`]: an image with some of its questions.

    In a mirrored image the words left and right change places, in questions and answers. A warning says how many texts
    are cut.

    Args:
        source ([`PixelSource`], [`RegionSource`] or [`BlindSource`]):
            The images.
        questions ([`Questions`]):
            The questions.
        labels (`Sequence[torch.Tensor]`, *optional*):
            The labels of each question. Without, they are the tokens of its most common answer.
        tokenizer (`PreTrainedTokenizerFast`):
            Tokenizes the questions, and the answers. Texts longer than its `model_max_length` are cut.
        mirrored_labels (`Sequence`, *optional*):
            The labels in a mirrored image: `None` for a question that does not count there, its answer being unknown.
            Needed where there are `labels` and images are mirrored.
    """

    def __init__(
        self,
        source: Any,
        questions: Questions,
        labels: Sequence[torch.Tensor] | None,
        tokenizer: PreTrainedTokenizerFast,
        mirrored_labels: Sequence[torch.Tensor | None] | None = None,
    ):
        self.source = source
        self.questions = questions
        self.labels = labels
        self.mirrored_labels = mirrored_labels
        self.tokenizer = tokenizer
        self.max_length = most_tokens(tokenizer)
        self.lengths = question_lengths(questions, tokenizer)
        warn_of_cut(self.lengths, self.max_length, "questions", "max_length")
        if labels is None:
            answers = closed_texts(tokenizer, [most_common(given) for given in questions.answers])
            warn_of_cut([*map(len, answers)], self.max_length, "answers", "max_length")
        by_image: dict[int, list[int]] = {}
        for row, image in enumerate(questions.image):
            by_image.setdefault(image, []).append(row)
        self.rows = list(by_image.values())  # of each image that is asked about

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, group: CaptionGroup) -> dict[str, Any]:
        rows, mirrored = [self.rows[group.image][number] for number in group.captions], group.mirrored
        as_seen = mirrored_text if mirrored else str
        questions = [as_seen(self.questions.texts[row]) for row in rows]
        if self.labels is None:
            answers = [as_seen(most_common(self.questions.answers[row])) for row in rows]
            labels = [torch.tensor(ids) for ids in closed_texts(self.tokenizer, answers, self.max_length)]
        elif mirrored:
            known = [self.mirrored_labels[row] for row in rows]
            labels = [
                torch.full_like(self.labels[row], -100) if label is None else label
                for row, label in zip(rows, known, strict=True)
            ]
        else:
            labels = [self.labels[row] for row in rows]
        return {
            **self.source.inputs(self.questions.image[rows[0]], mirrored, group.crop),
            "input_ids": self.tokenizer(questions, **cut_to(self.max_length))["input_ids"],
            "labels": labels,
        }


class AnsweringCollator:
    """
    Stacks images, and pads their questions and labels.

    With k questions about the image that has most, those about image i are the rows `i * k` to `i * k + k - 1`. Of an
    image with fewer, the last is repeated with labels of -100, which do not count.

    Args:
        pad_token_id (`int`):
            Padding of the questions.
    """

    def __init__(self, pad_token_id: int):
        self.pad_token_id = pad_token_id

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """
        Makes one batch.

        Args:
            examples (`Sequence[dict]`):
                Each with `input_ids`, the token ids of each question, an image under the names of the model's inputs,
                and in training `labels`, a tensor for each question.
        """
        most = max(len(example["input_ids"]) for example in examples)
        words, labels = [], []
        for example in examples:
            missing = most - len(example["input_ids"])
            words += [torch.tensor(ids) for ids in [*example["input_ids"], *example["input_ids"][-1:] * missing]]
            if "labels" in example:
                labels += [*example["labels"], *[torch.full_like(example["labels"][-1], -100)] * missing]
        images = [{k: v for k, v in each.items() if k not in ("input_ids", "labels")} for each in examples]
        batch = {
            **stack_inputs(images),
            "input_ids": _pad(words, self.pad_token_id),
            "attention_mask": _pad([torch.ones_like(ids) for ids in words], 0),
        }
        if labels:
            is_text = labels[0].ndim == 1 and not labels[0].is_floating_point()
            batch["labels"] = _pad(labels, -100) if is_text else torch.stack(labels)
        return batch


def _pad(rows: list[torch.Tensor], value: int) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)


def answering_dataloader(
    dataset: AnsweringDataset,
    batch_size: int,
    questions_per_image: int = 1,
    mirror: bool = False,
    crops: int = 0,
    bucket_batches: int = 20,
    seed: int = 0,
    num_workers: int = 0,
) -> DataLoader:
    """
    The batches of training.

    Args:
        dataset ([`AnsweringDataset`]):
            The questions.
        batch_size (`int`):
            Questions of a batch.
        questions_per_image (`int`, *optional*, defaults to 1):
            How many of them, at most, share an image.
        mirror (`bool`, *optional*, defaults to `False`):
            Whether half of the images are mirrored.
        crops (`int`, *optional*, defaults to 0):
            Random crops that an image has.
        bucket_batches (`int`, *optional*, defaults to 20):
            Batches among which questions are sorted by length.
        seed (`int`, *optional*, defaults to 0):
            Seed of the order.
        num_workers (`int`, *optional*, defaults to 0):
            Processes that read data.

    Raises:
        ValueError: If `batch_size` is no multiple of `questions_per_image`.
    """
    if batch_size % questions_per_image:
        raise ValueError(
            f"`batch_size` must be a multiple of `questions_per_image`, got {batch_size} and {questions_per_image}."
        )
    sampler = CaptionBatchSampler(
        [[dataset.lengths[row] for row in rows] for rows in dataset.rows],
        images_per_batch=batch_size // questions_per_image,
        captions_per_image=questions_per_image,
        mirror=mirror,
        crops=crops,
        bucket_batches=bucket_batches,
        seed=seed,
    )
    collator = AnsweringCollator(dataset.tokenizer.pad_token_id)
    return DataLoader(dataset, batch_sampler=sampler, collate_fn=collator, num_workers=num_workers)


def question_lengths(questions: Questions, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """How many tokens each question has, uncut."""
    return [len(ids) for ids in tokenizer(questions.texts, verbose=False)["input_ids"]]


def question_batch(
    source: PixelSource | RegionSource | BlindSource,
    questions: Questions,
    rows: Sequence[int],
    tokenizer: PreTrainedTokenizerFast,
) -> tuple[dict[str, torch.Tensor], list[int]]:
    """
    Some questions as inputs of a model, those about one image beside each other, so that it is encoded once.

    Args:
        source ([`PixelSource`], [`RegionSource`] or [`BlindSource`]):
            The images.
        questions ([`Questions`]):
            The questions.
        rows (`Sequence[int]`):
            Which of them.
        tokenizer (`PreTrainedTokenizerFast`):
            Tokenizes them. Those longer than its `model_max_length` are cut.

    Returns:
        `tuple[dict, list[int]]`: The inputs, and where in the batch each of the questions stands. Of an image with
        many questions there are several copies, so that the batch is at most twice as large as `rows`.
    """
    by_image: dict[int, list[int]] = {}
    for position, row in enumerate(rows):
        by_image.setdefault(questions.image[row], []).append(position)
    size = math.ceil(len(rows) / len(by_image))
    groups = [group[start : start + size] for group in by_image.values() for start in range(0, len(group), size)]
    texts = [questions.texts[row] for row in rows]
    ids = tokenizer(texts, **cut_to(most_tokens(tokenizer)))["input_ids"]
    examples = [
        {**source.inputs(questions.image[rows[group[0]]]), "input_ids": [ids[position] for position in group]}
        for group in groups
    ]
    most = max(len(group) for group in groups)
    places = {position: g * most + i for g, group in enumerate(groups) for i, position in enumerate(group)}
    return AnsweringCollator(tokenizer.pad_token_id)(examples), [places[position] for position in range(len(rows))]


class AnsweringObjective(Objective):
    """The model's own loss per question, where labels are scores of answers and not tokens."""

    def num_items(self, batch: Mapping[str, Any]) -> torch.Tensor:
        labels = batch["labels"]
        return (labels != -100).any(-1).sum() if labels.ndim == 2 else (labels != -100).sum()
