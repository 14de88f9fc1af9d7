"""Scores of translations against a reference each, by sacreBLEU."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import datasets
import evaluate

from hf_attention.extras import require_extra


if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric


_CITATION = """\
@inproceedings{post2018call, title={A Call for Clarity in Reporting BLEU Scores}, author={Post, Matt},
  booktitle={WMT}, year={2018}}"""


def translation_metrics(translations: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """
    Corpus BLEU, chrF and TER by sacreBLEU.

    Args:
        translations (`Sequence[str]`):
            One a sentence, as text, not tokenized.
        references (`Sequence[str]`):
            One a sentence, as text.

    Returns:
        `dict[str, float]`:
            In percent: `bleu` (13a, cased), `bleu_lowercase` (13a, lower-cased), `chrf`, and `ter`, of which less is
            better. What [`translation_signatures`] gives belongs beside them.

    Raises:
        ModuleNotFoundError: If sacreBLEU is not installed.
        ValueError: If there are no translations, or not as many as references.
    """
    if not translations or len(translations) != len(references):
        raise ValueError(
            f"Scores need one reference for each translation, got {len(translations)} translations and "
            f"{len(references)} references."
        )
    return {name: metric.corpus_score(translations, [references]).score for name, metric in _scorers().items()}


def translation_signatures() -> dict[str, str]:
    """SacreBLEU's signature of each of the [`translation_metrics`]: how it was computed, and by which version."""
    signatures = {}
    for name, metric in _scorers().items():
        metric.corpus_score(["text"], [["text"]])  # only then does it know the number of references
        signatures[name] = str(metric.get_signature())
    return signatures


def _scorers() -> dict[str, "Metric"]:
    require_extra("metrics", "sacrebleu")
    from sacrebleu.metrics import BLEU, CHRF, TER

    return {"bleu": BLEU(), "bleu_lowercase": BLEU(lowercase=True), "chrf": CHRF(), "ter": TER()}


class Translation(evaluate.Metric):
    """[`translation_metrics`] as a module of `evaluate`."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description=__doc__,
            citation=_CITATION,
            inputs_description=translation_metrics.__doc__,
            features=datasets.Features({"predictions": text, "references": text}),
        )

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        return translation_metrics(predictions, references)
