"""Questions about shared images."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset

from ...data.columns import check_column, column_values
from ...data.image_columns import image_ids
from ...data.texts import drop_textless, text_lists


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
    drop_unanswered: bool = False,
) -> Questions:
    """
    Reads the questions of a split and finds out which of them share an image.

    Args:
        dataset (`Dataset`):
            One row for each question.
        image_column, question_column, answer_column (`str`):
            Its columns. Answers are one string, or a list with one for each annotator: a string, or a dictionary that
            has it as `answer`.
        image_id_column (`str`, *optional*):
            A column that is equal where the image is. By default, images of the same bytes, or from the same file, are
            the same.
        question_pattern (`str`, *optional*):
            A regular expression; what it matches is cut out of the questions.
        drop_unanswered (`bool`, *optional*, defaults to `False`):
            Leaves out the questions that have no answer, and logs a warning that says how many they are.

    Raises:
        ValueError: If a column is missing, a question or answer has no text, or the pattern leaves nothing of it.
    """
    check_column(dataset, question_column, "question_column")
    if drop_unanswered:
        dataset = drop_textless(dataset, answer_column, "answer_column")
    texts = []
    for row, text in enumerate(column_values(dataset, question_column)):
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


def mirrored_text(text: str) -> str:
    """The text of a mirrored image: left and right change places."""

    def swapped(match: re.Match) -> str:
        word = MIRRORED[match[0].lower()]
        return word.upper() if match[0].isupper() else word.capitalize() if match[0][0].isupper() else word

    return re.sub(r"\b(left|right)\b", swapped, text, flags=re.IGNORECASE)
