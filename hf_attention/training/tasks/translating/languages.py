"""The languages that a translator is for, as its configuration tells them to pipelines."""

import logging
from typing import Any

from ....models.pipeline_text2text import LANGUAGES


logger = logging.getLogger(__name__)


def languages_of(config: dict[str, Any]) -> tuple[str, str] | None:
    """
    Source and target language.

    Args:
        config (`dict`): The configuration of a model.

    Returns:
        `tuple[str, str]`, *optional*: `None` where it names none, or several pairs.
    """
    pairs = [pair.groups() for task in config.get("task_specific_params") or {} if (pair := LANGUAGES.fullmatch(task))]
    return pairs[0] if len(pairs) == 1 else None


def take_languages(arguments: Any, config: dict[str, Any]) -> None:
    """
    Fills in the languages of a model that are not given. A warning tells of others that are.

    Args:
        arguments: Has `source_lang` and `target_lang`.
        config (`dict`): The configuration of the model.
    """
    known, given = languages_of(config), (arguments.source_lang, arguments.target_lang)
    if known is None:
        return
    if all(language in (None, own) for language, own in zip(given, known, strict=True)):
        arguments.source_lang, arguments.target_lang = known
    elif any(given):
        logger.warning("The model translates %s into %s, and is given %s.", *known, " and ".join(filter(None, given)))
