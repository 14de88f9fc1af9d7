"""Scores of translations against a reference each, and of chat replies."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.metrics.base import Metric


def translation_metrics(translations: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Corpus BLEU and chrF by sacreBLEU.

    Args:
        translations (`Sequence[str]`): one a sentence, as text, not tokenized.
        references (`Sequence[str]`): one a sentence, as text.

    Returns:
        `dict[str, float]`:
            From 0 to 100: `bleu` (13a, cased), `bleu_lowercase` (13a, lower-cased) and `chrf`. What
            [`translation_signatures`] gives belongs beside them.

    Raises:
        ValueError: if there are no translations, or not as many as references.
    """
    if not translations or len(translations) != len(references):
        raise ValueError(
            f"Scores need one reference for each translation, got {len(translations)} translations and "
            f"{len(references)} references."
        )
    return {
        name: metric.corpus_score(translations, [references]).score for name, metric in _translation_scorers().items()
    }


def translation_signatures() -> dict[str, str]:
    """SacreBLEU's signature of each of the [`translation_metrics`]: how it was computed, and by which version."""
    signatures = {}
    for name, metric in _translation_scorers().items():
        metric.corpus_score(["text"], [["text"]])  # only then does it know the number of references
        signatures[name] = str(metric.get_signature())
    return signatures


def chat_metrics(replies: Sequence[str], training_answers: Iterable[str]) -> dict[str, float]:
    """How varied replies are, and how many were learnt by heart.

    Args:
        replies (`Sequence[str]`): the generated replies.
        training_answers (`Iterable[str]`): the answers that the model was trained on.

    Returns:
        `dict[str, float]`:
            In percent: `distinct_2`, how many of all pairs of neighbouring words are different ones (words are what
            white space separates; Li et al. 2016 divide by the number of words instead; 0 where no reply has two
            words), and `copied`, how many replies are a training answer word for word.

    Raises:
        ValueError: if there are no replies.
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


def _translation_scorers() -> dict[str, Metric]:
    return {"bleu": BLEU(), "bleu_lowercase": BLEU(lowercase=True), "chrf": CHRF()}
