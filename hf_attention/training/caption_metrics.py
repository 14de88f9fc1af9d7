"""Scores of captions against several references each."""

import re
from collections.abc import Sequence

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from .tokenization import WORD


METRIC_TOKENIZER = f"lower case, words of the regular expression {WORD}, without punctuation"


def caption_metrics(captions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """BLEU, CIDEr and ROUGE-L by pycocoevalcap, with the tokeniser that `METRIC_TOKENIZER` describes.

    Args:
        captions (`Sequence[str]`): one caption an image.
        references (`Sequence[Sequence[str]]`): the references of each image.

    Returns:
        `dict[str, float]`:
            `cider` (CIDEr-D in kind: clipped and weighed by length), `bleu_1` to `bleu_4` and `rouge_l`, times 100.

    Raises:
        ValueError: if there are no captions, not as many captions as images, or an image has no reference.
    """
    if not captions or len(captions) != len(references) or not all(references):
        raise ValueError(
            f"Scores need captions and at least one reference for each, got {len(captions)} captions, "
            f"{len(references)} images and {sum(not texts for texts in references)} images without references."
        )
    hypotheses = {i: [_tokenize(caption)] for i, caption in enumerate(captions)}
    truths = {i: [_tokenize(text) for text in texts] for i, texts in enumerate(references)}
    bleu, _ = Bleu(4).compute_score(truths, hypotheses, verbose=0)
    cider, _ = Cider().compute_score(truths, hypotheses)
    rouge, _ = Rouge().compute_score(truths, hypotheses)
    scores = {"cider": cider, **{f"bleu_{n}": score for n, score in enumerate(bleu, 1)}, "rouge_l": rouge}
    return {name: 100 * float(score) for name, score in scores.items()}


def _tokenize(text: str) -> str:
    return " ".join(re.findall(WORD, text.lower()))
