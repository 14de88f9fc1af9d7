"""Scores of chat replies, of which there is no right one."""

from collections.abc import Iterable, Sequence
from itertools import pairwise


def chat_metrics(replies: Sequence[str], training_answers: Iterable[str]) -> dict[str, float]:
    """
    How varied replies are, and how many were learnt by heart.

    Args:
        replies (`Sequence[str]`):
            The generated replies.
        training_answers (`Iterable[str]`):
            The answers that the model was trained on.

    Returns:
        `dict[str, float]`:
            In percent: `distinct_2`, how many of all pairs of neighbouring words are different ones (words are what
            white space separates; Li et al. 2016 divide by the number of words instead; 0 where no reply has two
            words), and `copied`, how many replies are a training answer word for word.

    Raises:
        ValueError: If there are no replies.
    """
    if not replies:
        raise ValueError("`replies` is empty: there is nothing to score.")
    words = [tuple(reply.split()) for reply in replies]
    answers = {tuple(answer.split()) for answer in training_answers}
    bigrams = [bigram for reply in words for bigram in pairwise(reply)]
    return {
        "distinct_2": 100 * len(set(bigrams)) / max(len(bigrams), 1),
        "copied": 100 * sum(reply in answers for reply in words) / len(words),
    }
