"""CIDEr of captions one by one, as a reward."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from ....metrics.words import ngrams


class CiderScorer:
    """
    CIDEr of many captions of few images, document frequencies coming from a whole split.

    The values are those of pycocoevalcap's `Cider` (CIDEr-D in kind, Vedantam et al. 2015), which can only score all
    images of the split together.

    Args:
        references (`Sequence[Sequence[Sequence[str]]]`):
            The words of each reference of each image.
    """

    max_order = 4
    sigma = 6.0  # of the Gaussian penalty on a difference in length

    def __init__(self, references: Sequence[Sequence[Sequence[str]]]):
        self.references = references
        images_with = Counter()
        for texts in references:
            images_with.update({ngram for words in texts for ngram in ngrams(words, self.max_order)})
        self.unseen_weight = math.log(len(references))
        self.weights = {ngram: self.unseen_weight - math.log(count) for ngram, count in images_with.items()}

    def __call__(self, image: int, captions: Sequence[Sequence[str]]) -> list[float]:
        """
        Scores captions of one image.

        Args:
            image (`int`):
                Number of the image, in the order of the references.
            captions (`Sequence[Sequence[str]]`):
                The words of each caption.

        Returns:
            `list[float]`: A score for each caption, from 0 to 10.
        """
        references = [self._vector(words) for words in self.references[image]]
        vectors = map(self._vector, captions)
        return [
            10 * sum(self._similarity(vector, reference) for reference in references) / len(references)
            for vector in vectors
        ]

    def of_references(self, image: int) -> list[float]:
        """Scores each reference of an image by the others; 0 where there are none."""
        vectors = [self._vector(words) for words in self.references[image]]
        return [
            10
            * sum(self._similarity(vector, other) for other in vectors if other is not vector)
            / max(len(vectors) - 1, 1)
            for vector in vectors
        ]

    def _vector(self, words: Sequence[str]) -> "_NgramVector":
        counts = Counter(ngrams(words, self.max_order))
        values = {ngram: count * self.weights.get(ngram, self.unseen_weight) for ngram, count in counts.items()}
        squares = [0.0] * self.max_order
        for ngram, value in values.items():
            squares[len(ngram) - 1] += value * value
        return _NgramVector(values, [math.sqrt(square) for square in squares], max(len(words) - 1, 0))

    def _similarity(self, caption: "_NgramVector", reference: "_NgramVector") -> float:
        """The mean over the orders of the clipped cosine."""
        products = [0.0] * self.max_order
        for ngram, value in caption.values.items():
            other = reference.values.get(ngram)
            if other is not None:
                products[len(ngram) - 1] += min(value, other) * other
        cosines = sum(
            product / (norm * other)
            for product, norm, other in zip(products, caption.norms, reference.norms, strict=True)
            if product
        )
        difference = caption.length - reference.length
        return cosines * math.exp(-(difference**2) / (2 * self.sigma**2)) / self.max_order


def consensus_weights(references: Sequence[Sequence[Sequence[str]]]) -> list[list[float]]:
    """
    How much each caption is like the others of its image: its CIDEr by them, which trains captions that most people
    would write (weighted cross-entropy, Phan et al. 2017, section 3.2).

    Args:
        references (`Sequence[Sequence[Sequence[str]]]`):
            The words of each caption of each image.

    Returns:
        `list[list[float]]`: Of each caption of each image, divided by their mean over all; 1 where a caption is the
        only one, and 0 where it shares nothing with the others.

    Raises:
        ValueError: If no caption shares anything with another of its image: there is nothing to weigh by.
    """
    scorer = CiderScorer(references)
    weights = [scorer.of_references(image) for image in range(len(references))]
    compared = [weight for texts in weights if len(texts) > 1 for weight in texts]
    mean = sum(compared) / max(len(compared), 1)
    if not mean:
        raise ValueError("No image has two captions that share a word: there is no consensus to weigh captions by.")
    return [[weight / mean for weight in texts] if len(texts) > 1 else [1.0] for texts in weights]


class _NgramVector(NamedTuple):
    values: dict[tuple[str, ...], float]
    norms: list[float]  # of each order
    length: int  # in bigrams, as pycocoevalcap measures it
