"""Scores of translations against a reference each, by sacreBLEU."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import datasets
import evaluate

from hf_attention.extras import require_extra
from hf_attention.metrics.languages import bleu_tokenizer


if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric


METRICS = ("bleu", "bleu_lowercase", "chrf", "ter")

_CITATION = """\
@inproceedings{post2018call, title={A Call for Clarity in Reporting BLEU Scores}, author={Post, Matt},
  booktitle={WMT}, year={2018}}"""


def translation_metrics(
    translations: Sequence[str], references: Sequence[str], tokenize: str | None = None, language: str | None = None
) -> dict[str, float]:
    """
    Corpus BLEU, chrF and TER by sacreBLEU.

    Args:
        translations (`Sequence[str]`):
            One a sentence, as text, not tokenized.
        references (`Sequence[str]`):
            One a sentence, as text.
        tokenize (`str`, *optional*):
            SacreBLEU's tokenizer for BLEU. By default that of the language (13a for most): [`bleu_tokenizer`].
        language (`str`, *optional*):
            Code of the language. By default it is told by the script of the references.

    Returns:
        `dict[str, float]`:
            In percent: `bleu` (cased), `bleu_lowercase` (lower-cased), `chrf`, and `ter`, of which less is better; it
            compares words, and is left out where BLEU compares characters. What [`translation_signatures`] gives
            belongs beside them.

    Raises:
        ModuleNotFoundError: If sacreBLEU is not installed.
        ValueError: If there are no translations, or not as many as references, or no such tokenizer.
    """
    if not translations or len(translations) != len(references):
        raise ValueError(
            f"Scores need one reference for each translation, got {len(translations)} translations and "
            f"{len(references)} references."
        )
    scorers = _scorers(tokenize or bleu_tokenizer(references, language))
    return {name: metric.corpus_score(translations, [references]).score for name, metric in scorers.items()}


def translation_signatures(tokenize: str = "13a") -> dict[str, str]:
    """
    SacreBLEU's signature of each of the [`translation_metrics`]: how it was computed, and by which version.

    Args:
        tokenize (`str`, *optional*, defaults to `"13a"`): SacreBLEU's tokenizer for BLEU.
    """
    signatures = {}
    for name, metric in _scorers(tokenize).items():
        metric.corpus_score(["text"], [["text"]])  # only then does it know the number of references
        signatures[name] = str(metric.get_signature())
    return signatures


def _scorers(tokenize: str) -> dict[str, "Metric"]:
    require_extra("metrics", "sacrebleu")
    from sacrebleu.metrics import BLEU, CHRF, TER

    if tokenize not in BLEU.TOKENIZERS:
        raise ValueError(f"`tokenize` must be one of {', '.join(BLEU.TOKENIZERS)}, got {tokenize!r}.")
    scorers = {
        "bleu": BLEU(tokenize=tokenize),
        "bleu_lowercase": BLEU(lowercase=True, tokenize=tokenize),
        "chrf": CHRF(),
    }
    if tokenize != "char":
        is_asian = tokenize in ("ja-mecab", "zh")
        scorers["ter"] = TER(normalized=is_asian, asian_support=is_asian)
    return scorers


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

    def _compute(
        self,
        predictions: list[str],
        references: list[str],
        tokenize: str | None = None,
        language: str | None = None,
    ) -> dict[str, float]:
        return translation_metrics(predictions, references, tokenize, language)
