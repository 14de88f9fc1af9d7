"""The texts of the rows of a split: captions and answers, running texts, pairs of sentences."""

import ast
import json
import logging
import re
from typing import Any

from datasets import Dataset, Translation

from .columns import check_column, column_values


logger = logging.getLogger(__name__)

# The column of dictionaries, one text a language, that translation data sets on the Hub have.
TRANSLATION_COLUMN = "translation"
# Where a dictionary has the text of an answer or a caption.
TEXT_KEYS = ("answer", "caption", "raw")
# The options that leave out rows without a text.
DROPPING = {"answer_column": "drop_unanswered", "captions_column": "drop_uncaptioned"}


def text_lists(dataset: Dataset, column: str, argument: str) -> list[list[str]]:
    """
    The texts of each row, from a column of strings, or of lists of strings or of dictionaries that hold one (VQAv2's
    answers, COCO's captions: `TEXT_KEYS`); a string may be such a list as JSON or Python writes it. Blank ones are
    left out, and a warning says how many.

    Raises:
        ValueError: If the column is missing or holds something else, or a row has no text.
    """
    check_column(dataset, column, argument)
    rows, blank = [], 0
    for number, value in enumerate(column_values(dataset, column)):
        texts = _texts(value, f"`{argument}` is {column!r}, whose row {number}")
        rows.append([text for text in texts if text])
        blank += len(texts) - len(rows[-1])
        if not rows[-1]:
            flag = DROPPING[argument]
            raise ValueError(
                f"Row {number} of the column {column!r} (`{argument}`) has no text. `{flag}` leaves such rows out."
            )
    if blank:
        logger.warning("Left out %d texts of the column %r that are empty or white space.", blank, column)
    return rows


def drop_textless(dataset: Dataset, column: str, argument: str) -> Dataset:
    """
    The rows of which a column has a text, as [`text_lists`] reads it; a warning says how many the others are.

    Raises:
        ValueError: If the column is missing or holds something else, or no row is left.
    """
    check_column(dataset, column, argument)
    values = enumerate(column_values(dataset, column))
    kept = [row for row, value in values if any(_texts(value, f"`{argument}` is {column!r}, whose row {row}"))]
    if not kept:
        raise ValueError(f"None of the {len(dataset)} rows has a text in the column {column!r} (`{argument}`).")
    if len(kept) == len(dataset):
        return dataset
    logger.warning("Left out %d of %d rows: %r has no text.", len(dataset) - len(kept), len(dataset), column)
    return dataset.select(kept)


def _texts(value: Any, where: str) -> list[str]:
    """The texts that a value of a column holds, without white space at the ends, empty where one is missing."""
    if isinstance(value, dict):  # older data sets turn a list of dictionaries inside out
        value = next((value[key] for key in TEXT_KEYS if isinstance(value.get(key), list)), value)
    values = value if isinstance(value, list) else [value]
    values = [each for value in values for each in (_in_cell(value, where) if isinstance(value, str) else [value])]
    texts = [
        next((each[key] for key in TEXT_KEYS if key in each), each) if isinstance(each, dict) else each
        for each in values
    ]
    if not all(text is None or isinstance(text, str) for text in texts):
        raise ValueError(f"{where} is {value!r}: neither a string nor a list of strings.")
    return ["" if text is None else text.strip() for text in texts]


def _in_cell(text: str, where: str) -> list[Any]:
    """What a cell of a table holds, be it a list as JSON or Python writes it, which no other text looks like."""
    if re.fullmatch(r"""\s*\[\s*["'{].*["'}]\s*\]\s*""", text, re.DOTALL) is None:
        return [text]
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        if re.search(r"""["']\s*["']""", text) is None:  # which Python would join
            return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        pass
    raise ValueError(f"{where} is {text!r}: a list, but neither as JSON nor as Python writes it.")


def running_texts(dataset: Dataset, column: str, drop_missing: bool = False) -> list[str]:
    """
    The texts of a column as they are, blank ones too; with `drop_missing` without the rows that have none, which a
    warning counts.

    Raises:
        ValueError: If the column is missing, or a row holds no string.
    """
    check_column(dataset, column, "text_column")
    texts = []
    for number, text in enumerate(column_values(dataset, column)):
        if isinstance(text, str):
            texts.append(text)
        elif text is not None or not drop_missing:
            hint = " `drop_missing` leaves such rows out." if text is None else ""
            raise ValueError(f"`text_column` is {column!r}, whose row {number} is {text!r}, not a string.{hint}")
    if len(texts) < len(dataset):
        logger.warning("Left out %d of %d rows: %r has no text.", len(dataset) - len(texts), len(dataset), column)
    return texts


def text_pairs(
    dataset: Dataset,
    source_column: str | None = None,
    target_column: str | None = None,
    source_lang: str | None = None,
    target_lang: str | None = None,
    drop_unpaired: bool = False,
) -> Dataset:
    """
    The pairs of texts of a split, from two columns of strings, or from two languages of a column `translation`.

    Args:
        dataset (`Dataset`):
            The split.
        source_column, target_column (`str`, *optional*):
            Two columns of strings. They come before the languages where both are given.
        source_lang, target_lang (`str`, *optional*):
            Two languages of the dictionaries in the column `translation`, or two columns that are named so.
        drop_unpaired (`bool`, *optional*, defaults to `False`):
            Leaves out the rows of which a side is missing, empty or white space, and logs a warning that says how
            many they are. Otherwise such a row is an error.

    Returns:
        `Dataset`: With the columns `source` and `target`, without white space at the ends of the texts.

    Raises:
        ValueError:
            If neither two columns nor two languages are named, or there are none of those names, a text is no string,
            a row is unpaired, or no row is left. Rows are counted from 0.
    """
    where = f"the split {str(dataset.split)!r}" if dataset.split else "the data set"
    if not (source_column or target_column) and has_language_columns(dataset, source_lang, target_lang):
        source_column, target_column = source_lang, target_lang
    if source_column and target_column:
        names = (source_column, target_column)
        check_column(dataset, source_column, "source_column")
        check_column(dataset, target_column, "target_column")
        sides = zip(column_values(dataset, source_column), column_values(dataset, target_column), strict=True)
    elif source_column or target_column:
        raise ValueError(
            "`source_column` and `target_column` belong together, "
            f"got {source_column!r} and {target_column!r}. The data set's columns are {dataset.column_names}."
        )
    elif source_lang and target_lang:
        names = (source_lang, target_lang)
        _check_languages(dataset, source_lang=source_lang, target_lang=target_lang)
        rows = ({} if row is None else row for row in column_values(dataset, TRANSLATION_COLUMN))
        sides = ((row.get(source_lang), row.get(target_lang)) for row in rows)
    else:
        raise ValueError(
            "Name the texts: `source_column` and `target_column`, or `source_lang` and `target_lang` of a column "
            f"{TRANSLATION_COLUMN!r}. The data set's columns are {dataset.column_names}."
        )
    pairs = {"source": [], "target": []}
    for number, pair in enumerate(sides):
        for name, text in zip(names, pair, strict=True):
            if text is not None and not isinstance(text, str):
                raise ValueError(f"Row {number} of {where}: {name!r} is {text!r}, not a string.")
        blank = [name for name, text in zip(names, pair, strict=True) if text is None or not text.strip()]
        if not blank:
            for texts, text in zip(pairs.values(), pair, strict=True):
                texts.append(text.strip())
        elif not drop_unpaired:
            raise ValueError(
                f"Row {number} of {where} is no pair: {' and '.join(map(repr, blank))} has no text. "
                "`drop_unpaired` leaves such rows out."
            )
    dropped = len(dataset) - len(pairs["source"])
    if dropped == len(dataset):
        raise ValueError(f"None of the {dropped} rows of {where} is a pair of texts.")
    if dropped:
        logger.warning("Left out %d of %d rows of %s: a side has no text.", dropped, len(dataset), where)
    return Dataset.from_dict(pairs, split=dataset.split)


def has_language_columns(dataset: Dataset, *languages: str | None) -> bool:
    """Whether a data set has a column for each of the languages, and none of dictionaries with all of them."""
    return TRANSLATION_COLUMN not in dataset.column_names and set(languages) <= set(dataset.column_names)


def _check_languages(dataset: Dataset, **arguments: str) -> None:
    feature = dataset.features.get(TRANSLATION_COLUMN)
    if feature is None:
        raise ValueError(
            f"`source_lang` and `target_lang` are for a column {TRANSLATION_COLUMN!r}, but the data set's columns are "
            f"{dataset.column_names}. Name two of them as `source_column` and `target_column`."
        )
    if isinstance(feature, Translation):
        languages = list(feature.languages)
    elif isinstance(feature, dict):
        languages = list(feature)
    else:
        raise ValueError(f"The column {TRANSLATION_COLUMN!r} holds {feature}, not a text for each language.")
    for argument, language in arguments.items():
        if language not in languages:
            raise ValueError(f"`{argument}` is {language!r}, but the data set's languages are {sorted(languages)}.")
