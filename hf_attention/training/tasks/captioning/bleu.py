"""BLEU-4 of captions one by one, as a reward."""

import math
from collections import Counter
from collections.abc import Sequence

from ....metrics.words import ngrams


class BleuScorer:
    r"""
    BLEU-4 of many captions of few images (Papineni et al. 2002), each by itself.

    Many a caption has no four words in a row that a reference has, which would make a zero of it, whatever else is
    right. So one is added to the matches and to the number of n-grams, for n above 1 (Lin and Och 2004, "ORANGE",
    section 4; method 2 of Chen and Cherry 2014):
    \\( \min(1, e^{1 - r / c}) \left(\frac{m_1}{t_1} \prod_{n=2}^4 \frac{m_n + 1}{t_n + 1}\right)^{1/4} \\),
    with the length \\( c \\) of the caption, \\( r \\) of the reference that is nearest to it in length, the number
    \\( t_n \\) of its n-grams, and of those \\( m_n \\) that a reference has, each as often at most as in one of them.

    Args:
        references (`Sequence[Sequence[Sequence[str]]]`):
            The words of each reference of each image.
    """

    max_order = 4

    def __init__(self, references: Sequence[Sequence[Sequence[str]]]):
        self.references = references

    def __call__(self, image: int, captions: Sequence[Sequence[str]]) -> list[float]:
        """
        Scores captions of one image.

        Args:
            image (`int`):
                Number of the image, in the order of the references.
            captions (`Sequence[Sequence[str]]`):
                The words of each caption.

        Returns:
            `list[float]`: A score for each caption, from 0 to 1.
        """
        references = self.references[image]
        most = Counter()
        for words in references:
            most |= Counter(ngrams(words, self.max_order))
        lengths = [len(words) for words in references]
        return [self._score(words, most, lengths) for words in captions]

    def _score(self, words: Sequence[str], most: Counter[tuple[str, ...]], lengths: Sequence[int]) -> float:
        matches = [0] * self.max_order
        for ngram, count in Counter(ngrams(words, self.max_order)).items():
            matches[len(ngram) - 1] += min(count, most[ngram])
        if not matches[0]:
            return 0.0
        length = len(words)
        nearest = min(lengths, key=lambda other: (abs(other - length), other))
        precision = matches[0] / length
        for order in range(2, self.max_order + 1):
            precision *= (matches[order - 1] + 1) / (max(length - order + 1, 0) + 1)
        return precision ** (1 / self.max_order) * min(1.0, math.exp(1 - nearest / length))
