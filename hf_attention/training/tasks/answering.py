"""What training an answering model adds to the loop: questions about shared images, answers and their scores."""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from datasets import Dataset, Image
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from ...metrics.vqa_accuracy.vqa_accuracy import FULL_VOTES, answer_metrics, most_common
from ..data.collators import stack_inputs
from ..data.reading import check_column, text_lists
from ..data.sampling import CaptionBatchSampler, CaptionGroup
from ..loop.evaluation import texts_of_rows
from ..loop.objective import Objective
from .captioning import PixelSource, RegionSource


# What left and right become in a mirrored image.
MIRRORED = {"left": "right", "right": "left"}


@dataclass
class Questions:
    """
    The questions of a split, several of which may share an image.

    Args:
        images (`Dataset`):
            One row for each image.
        image (`list[int]`):
            The image of each question, as a row of `images`.
        texts (`list[str]`):
            The questions.
        answers (`list[list[str]]`):
            The answers of each question, one for each annotator.
    """

    images: Dataset
    image: list[int]
    texts: list[str]
    answers: list[list[str]]

    def __len__(self) -> int:
        return len(self.texts)

    def select(self, rows: Sequence[int]) -> "Questions":
        """Some of the questions, about the same images."""
        image, texts, answers = ([column[row] for row in rows] for column in (self.image, self.texts, self.answers))
        return Questions(self.images, image, texts, answers)


def read_questions(
    dataset: Dataset,
    image_column: str,
    question_column: str,
    answer_column: str,
    image_id_column: str | None = None,
    question_pattern: str | None = None,
) -> Questions:
    """
    Reads the questions of a split and finds out which of them share an image.

    Args:
        dataset (`Dataset`):
            One row for each question.
        image_column, question_column, answer_column (`str`):
            Its columns. Answers are one string, or a list with one for each annotator.
        image_id_column (`str`, *optional*):
            A column that is equal where the image is. By default, images of the same bytes, or from the same file, are
            the same.
        question_pattern (`str`, *optional*):
            A regular expression; what it matches is cut out of the questions.

    Raises:
        ValueError: If a column is missing, a question or answer has no text, or the pattern leaves nothing of it.
    """
    check_column(dataset, question_column, "question_column")
    texts = []
    for row, text in enumerate(dataset[question_column]):
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"Row {row} of the column {question_column!r} (`question_column`) has no text: {text!r}.")
        asked = text.strip() if question_pattern is None else re.sub(question_pattern, "", text).strip()
        if not asked:
            raise ValueError(f"`question_pattern` leaves nothing of the question in row {row}: {text!r}.")
        texts.append(asked)
    numbers: dict[Any, int] = {}
    image, first = [], []
    for row, key in enumerate(image_ids(dataset, image_column, image_id_column)):
        if key not in numbers:
            numbers[key] = len(first)
            first.append(row)
        image.append(numbers[key])
    return Questions(dataset.select(first), image, texts, text_lists(dataset, answer_column, "answer_column"))


def image_ids(dataset: Dataset, image_column: str, image_id_column: str | None = None) -> list[Any]:
    """What tells the images of a split apart: a column, their bytes, their files, or (made on the way) their rows."""
    if image_id_column is not None:
        check_column(dataset, image_id_column, "image_id_column")
        return list(dataset[image_id_column])
    encoded = dataset.select_columns(image_column).cast_column(image_column, Image(decode=False))

    def key(row: int, image: Mapping[str, Any]) -> Any:
        # Of an image that lies in the data set itself, the path is but a name, and another may have the same.
        return image["path"] or row if image["bytes"] is None else hashlib.sha256(image["bytes"]).digest()

    return [key(row, entry[image_column]) for row, entry in enumerate(encoded)]


def mirrored_text(text: str) -> str:
    """The text of a mirrored image: left and right change places."""

    def swapped(match: re.Match) -> str:
        word = MIRRORED[match[0].lower()]
        return word.upper() if match[0].isupper() else word.capitalize() if match[0][0].isupper() else word

    return re.sub(r"\b(left|right)\b", swapped, text, flags=re.IGNORECASE)


def split_by_image(ids: Sequence[Any], fraction: float, seed: int = 0) -> tuple[list[int], list[int]]:
    """
    Holds out a share of the images, each with all its questions.

    Args:
        ids (`Sequence`):
            What tells the image of each row apart.
        fraction (`float`):
            Share of the images to hold out, above 0 and below 1.
        seed (`int`, *optional*, defaults to 0):
            Chooses the images.

    Returns:
        `tuple[list[int], list[int]]`: The other rows, and those that are held out.

    Raises:
        ValueError: If one side would be empty.
    """
    distinct = list(dict.fromkeys(ids))
    count = round(fraction * len(distinct))
    if not 0 < count < len(distinct):
        raise ValueError(f"A share of {fraction} of {len(distinct)} images leaves one side empty.")
    held_out = {distinct[i] for i in np.random.default_rng(seed).permutation(len(distinct))[:count]}
    rows: tuple[list[int], list[int]] = ([], [])
    for row, key in enumerate(ids):
        rows[key in held_out].append(row)
    return rows


def answer_vocabulary(
    answers: Sequence[Sequence[str]], max_answers: int | None = None, min_count: int = 1
) -> list[str]:
    """
    The answers in order of their frequency; of equally frequent ones, the first seen comes first.

    Args:
        answers (`Sequence[Sequence[str]]`):
            The answers of each question.
        max_answers (`int`, *optional*):
            At most so many.
        min_count (`int`, *optional*, defaults to 1):
            How often an answer must occur.

    Raises:
        ValueError: If none is frequent enough.
    """
    counts = Counter(answer for given in answers for answer in given)
    known = [answer for answer, count in counts.most_common(max_answers) if count >= min_count]
    if not known:
        raise ValueError(f"No answer occurs `min_count`={min_count} times.")
    return known


def answer_scores(given: Sequence[str]) -> dict[str, float]:
    """How right each answer is: in full where three annotators, or all of fewer, gave it."""
    return {answer: min(count / min(FULL_VOTES, len(given)), 1) for answer, count in Counter(given).items()}


def answer_labels(
    answers: Sequence[Sequence[str]], label2id: Mapping[str, int], problem_type: str
) -> list[torch.Tensor | None]:
    """
    The labels of [`AttentionVQAForQuestionAnswering`].

    Args:
        answers (`Sequence[Sequence[str]]`):
            The answers of each question.
        label2id (`Mapping[str, int]`):
            The number of each known answer.
        problem_type (`str`):
            As in the configuration.

    Returns:
        `list`: For each question a vector with the scores of the known answers, or with one annotator and
        `"single_label_classification"` the number of the answer, with several their shares; `None` where no answer is
        known.
    """
    single = problem_type == "single_label_classification"
    one_each = all(len(given) == 1 for given in answers)
    labels: list[torch.Tensor | None] = []
    for given in answers:
        known = Counter(answer for answer in given if answer in label2id)
        if not known:
            labels.append(None)
        elif single and one_each:
            labels.append(torch.tensor(label2id[given[0]]))
        else:
            scores = torch.zeros(len(label2id))
            for answer, score in answer_scores(given).items() if not single else known.items():
                if answer in known:
                    scores[label2id[answer]] = score / known.total() if single else score
            labels.append(scores)
    return labels


def leave_out_absent_answers(
    labels: Sequence[int], texts: Sequence[str], kinds: Sequence[str], num_answers: int, min_expected: int = 20
) -> list[torch.Tensor]:
    """
    Leaves those answers out of a question's labels that it never gets, though others of its kind do.

    Where the data have no red star, "what shape is the red object ?" is never answered by "star", and a model reads
    off the question that it cannot be one, whatever it sees (Agrawal et al. 2018). This is a product of experts (Clark
    et al. 2019) whose other expert knows what never occurs: the loss has nothing left to learn from that.

    Args:
        labels (`Sequence[int]`):
            The number of the right answer of each question.
        texts (`Sequence[str]`):
            The questions.
        kinds (`Sequence[str]`):
            What kind of question each is.
        num_answers (`int`):
            How many answers there are.
        min_expected (`int`, *optional*, defaults to 20):
            How often the answer would have occurred, by its share of the answers to questions of the kind.

    Returns:
        `list[torch.Tensor]`: For each question 1 at its answer, -100 at those left out and 0 at the others.
    """
    by_text: dict[tuple[str, str], torch.Tensor] = {}
    by_kind: dict[str, torch.Tensor] = {}
    for label, text, kind in zip(labels, texts, kinds, strict=True):
        by_text.setdefault((kind, text), torch.zeros(num_answers))[label] += 1
        by_kind.setdefault(kind, torch.zeros(num_answers))[label] += 1
    scores = {}
    for (kind, text), counts in by_text.items():
        expected = counts.sum() * by_kind[kind] / by_kind[kind].sum()
        scores[kind, text] = torch.where((counts == 0) & (expected >= min_expected), -100.0, 0.0)
    rows = zip(labels, texts, kinds, strict=True)
    return [scores[kind, text].index_fill(0, torch.tensor(label), 1.0) for label, text, kind in rows]


class AnsweringDataset(torch.utils.data.Dataset):
    """
    Examples for [`AnsweringCollator`], by [`CaptionGroup`]: an image with some of its questions.

    In a mirrored image the words left and right change places, in questions and answers.

    Args:
        source ([`PixelSource`], [`RegionSource`] or [`BlindSource`]):
            The images.
        questions ([`Questions`]):
            The questions.
        labels (`Sequence[torch.Tensor]`, *optional*):
            The labels of each question. Without, they are the tokens of its most common answer.
        tokenizer (`PreTrainedTokenizerFast`):
            Tokenizes the questions, and the answers.
        max_length (`int`):
            Longer texts are cut.
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
        max_length: int,
        mirrored_labels: Sequence[torch.Tensor | None] | None = None,
    ):
        self.source = source
        self.questions = questions
        self.labels = labels
        self.mirrored_labels = mirrored_labels
        self.tokenizer = tokenizer
        self.max_length = max_length
        by_image: dict[int, list[int]] = {}
        for row, image in enumerate(questions.image):
            by_image.setdefault(image, []).append(row)
        self.rows = list(by_image.values())  # of each image that is asked about

    def __len__(self) -> int:
        return len(self.rows)

    def _tokens(self, texts: list[str], mirrored: bool) -> list[list[int]]:
        if mirrored:
            texts = [mirrored_text(text) for text in texts]
        return self.tokenizer(texts, truncation=True, max_length=self.max_length)["input_ids"]

    def __getitem__(self, group: CaptionGroup) -> dict[str, Any]:
        rows, mirrored = [self.rows[group.image][number] for number in group.captions], group.mirrored
        if self.labels is None:
            answers = [most_common(self.questions.answers[row]) for row in rows]
            labels = [torch.tensor(ids) for ids in self._tokens(answers, mirrored)]
        elif mirrored:
            known = [self.mirrored_labels[row] for row in rows]
            labels = [
                torch.full_like(self.labels[row], -100) if label is None else label
                for row, label in zip(rows, known, strict=True)
            ]
        else:
            labels = [self.labels[row] for row in rows]
        return {
            **self.source.inputs(self.questions.image[rows[0]], mirrored),
            "input_ids": self._tokens([self.questions.texts[row] for row in rows], mirrored),
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
    lengths = [len(ids) for ids in dataset.tokenizer(dataset.questions.texts)["input_ids"]]
    sampler = CaptionBatchSampler(
        [[lengths[row] for row in rows] for rows in dataset.rows],
        images_per_batch=batch_size // questions_per_image,
        captions_per_image=questions_per_image,
        mirror=mirror,
        bucket_batches=bucket_batches,
        seed=seed,
    )
    collator = AnsweringCollator(dataset.tokenizer.pad_token_id)
    return DataLoader(dataset, batch_sampler=sampler, collate_fn=collator, num_workers=num_workers)


class AnsweringObjective(Objective):
    """The model's own loss per question, where labels are scores of answers and not tokens."""

    def num_items(self, batch: Mapping[str, Any]) -> torch.Tensor:
        labels = batch["labels"]
        return (labels != -100).any(-1).sum() if labels.ndim == 2 else (labels != -100).sum()


class BlindSource:
    """
    Images that show nothing: what the question alone answers.

    Args:
        source ([`RegionSource`]):
            Whose images are hidden.
    """

    def __init__(self, source: RegionSource):
        self.source = source

    def inputs(self, row: int, mirrored: bool = False) -> dict[str, torch.Tensor]:
        """The model's input for one image: its regions, all zeros."""
        return {name: torch.zeros_like(value) for name, value in self.source.inputs(row, mirrored).items()}


def question_batch(
    source: PixelSource | RegionSource | BlindSource,
    questions: Questions,
    rows: Sequence[int],
    tokenizer: PreTrainedTokenizerFast,
    max_length: int,
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
            Tokenizes them.
        max_length (`int`):
            Longer ones are cut.

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
    ids = tokenizer(texts, truncation=True, max_length=max_length)["input_ids"]
    examples = [
        {**source.inputs(questions.image[rows[group[0]]]), "input_ids": [ids[position] for position in group]}
        for group in groups
    ]
    most = max(len(group) for group in groups)
    places = {position: g * most + i for g, group in enumerate(groups) for i, position in enumerate(group)}
    return AnsweringCollator(tokenizer.pad_token_id)(examples), [places[position] for position in range(len(rows))]


class AnsweringEvaluator:
    """
    Answers the questions of a split and scores the answers, over all processes.

    Args:
        source ([`PixelSource`], [`RegionSource`] or [`BlindSource`]):
            The images.
        questions ([`Questions`]):
            The questions.
        tokenizer (`PreTrainedTokenizerFast`):
            Tokenizes questions, and decodes what is generated.
        accelerator (`Accelerator`):
            Processes, device and precision.
        batch_size (`int`, *optional*, defaults to 100):
            Questions at a time.
        max_length (`int`, *optional*, defaults to 100):
            Longer questions are cut.
    """

    def __init__(
        self,
        source: PixelSource | RegionSource | BlindSource,
        questions: Questions,
        tokenizer: PreTrainedTokenizerFast,
        accelerator: Accelerator,
        batch_size: int = 100,
        max_length: int = 100,
    ):
        self.source = source
        self.questions = questions
        self.tokenizer = tokenizer
        self.accelerator = accelerator
        self.batch_size = batch_size
        self.max_length = max_length

    @torch.no_grad()
    def answers(self, model: PreTrainedModel, **generate_kwargs) -> list[str]:
        """The model's answers, in the order of the questions; `generate_kwargs` go to a generating head."""
        accelerator = self.accelerator

        def texts_of_batch(rows: list[int]) -> list[str]:
            batch, places = question_batch(self.source, self.questions, rows, self.tokenizer, self.max_length)
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
