"""Scores of captions against several references each, by pycocoevalcap."""

import shutil
from collections.abc import Sequence
from typing import Any, Literal

import evaluate

from hf_attention.extras import require_extra
from hf_attention.metrics.references import as_lists, one_or_several_references
from hf_attention.metrics.words import metric_words


# What is scored without Java.
METRICS = ("cider", *(f"bleu_{n}" for n in range(1, 5)), "rouge_l")

_CITATION = """\
@inproceedings{vedantam2015cider, title={CIDEr: Consensus-based Image Description Evaluation},
  author={Vedantam, Ramakrishna and Zitnick, C. Lawrence and Parikh, Devi}, booktitle={CVPR}, year={2015}}
@article{chen2015microsoft, title={Microsoft COCO Captions: Data Collection and Evaluation Server},
  author={Chen, Xinlei and others}, journal={arXiv:1504.00325}, year={2015}}"""


def caption_metrics(
    captions: Sequence[str],
    references: Sequence[Sequence[str]],
    tokenizer: Literal["words", "ptb"] = "words",
    meteor: bool = False,
) -> dict[str, float]:
    """
    BLEU, CIDEr and ROUGE-L, and METEOR if asked, by pycocoevalcap.

    Args:
        captions (`Sequence[str]`):
            One caption an image.
        references (`Sequence[Sequence[str]]`):
            The references of each image.
        tokenizer (`str`, *optional*, defaults to `"words"`):
            `"words"`, as [`~hf_attention.metrics.words.metric_words`] finds them; or `"ptb"`, the Penn Treebank's
            without punctuation, as in the COCO evaluation. Needs Java.
        meteor (`bool`, *optional*, defaults to `False`):
            Whether to compute METEOR. Needs Java.

    Returns:
        `dict[str, float]`:
            `cider` (CIDEr-D in kind: clipped and weighed by length), `bleu_1` to `bleu_4`, `rouge_l` and `meteor`,
            times 100.

    Raises:
        ValueError: If there are no captions, not as many captions as images, an image has no reference, or the
            tokenizer is none of these.
        ModuleNotFoundError: If pycocoevalcap is not installed.
        RuntimeError: If Java is needed and is not there.
    """
    if not captions or len(captions) != len(references) or not all(references):
        raise ValueError(
            f"Scores need captions and at least one reference for each, got {len(captions)} captions, "
            f"{len(references)} images and {sum(not texts for texts in references)} images without references."
        )
    if tokenizer not in ("words", "ptb"):
        raise ValueError(f"`tokenizer` must be 'words' or 'ptb', got {tokenizer!r}.")
    if (meteor or tokenizer == "ptb") and shutil.which("java") is None:
        raise RuntimeError(
            "METEOR and the tokeniser of the Penn Treebank run in Java, and there is no `java` on the path: install "
            'it, or leave out `meteor=True` and `tokenizer="ptb"`.'
        )
    require_extra("metrics", "pycocoevalcap")
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.rouge.rouge import Rouge

    hypotheses = {image: [caption] for image, caption in enumerate(captions)}
    truths = dict(enumerate(references))
    hypotheses, truths = (_tokenize(texts, tokenizer) for texts in (hypotheses, truths))
    bleu, _ = Bleu(4).compute_score(truths, hypotheses, verbose=0)
    cider, _ = Cider().compute_score(truths, hypotheses)
    rouge, _ = Rouge().compute_score(truths, hypotheses)
    scores = {"cider": cider, **{f"bleu_{n}": score for n, score in enumerate(bleu, 1)}, "rouge_l": rouge}
    if meteor:
        scores["meteor"], _ = Meteor().compute_score(truths, hypotheses)
    return {name: 100 * float(score) for name, score in scores.items()}


def _tokenize(texts: dict[int, Sequence[str]], tokenizer: str) -> dict[int, list[str]]:
    if tokenizer == "ptb":
        from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

        return PTBTokenizer().tokenize({image: [{"caption": text} for text in each] for image, each in texts.items()})
    return {image: [" ".join(metric_words(text)) for text in each] for image, each in texts.items()}


class Captioning(evaluate.Metric):
    """[`caption_metrics`] as a module of `evaluate`."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=__doc__,
            citation=_CITATION,
            inputs_description=caption_metrics.__doc__,
            features=one_or_several_references(),
        )

    def _compute(
        self, predictions: list[str], references: list[list[str]] | list[str], **options: Any
    ) -> dict[str, float]:
        return caption_metrics(predictions, as_lists(references), **options)
