import random

import pytest
from common.tiny_captioner import WORDS
from pycocoevalcap.bleu.bleu import Bleu
from sacrebleu.metrics import BLEU

from hf_attention.training.tasks.captioning.bleu import BleuScorer


def sentences(rng: random.Random) -> list[list[list[str]]]:
    """References of images, of one to five each."""

    def sentence() -> list[str]:
        return rng.choices(WORDS, weights=range(1, len(WORDS) + 1), k=rng.randint(1, 14))

    return [[sentence() for _ in range(rng.randint(1, 5))] for _ in range(300)]


def captions_of(references: list[list[list[str]]], rng: random.Random) -> list[list[str]]:
    """Good and bad ones, short and long."""
    captions = []
    for texts in references:
        words = [*rng.choice(texts), *rng.choice(texts)]
        start = rng.randint(0, len(words) - 1)
        captions.append(rng.choice([words[start:], words[: start + 1], texts[0], texts[-1][::-1]]))
    captions[0] = ["a"] * 9
    captions[1] = ["unheard", "of"]
    captions[2] = []
    return captions


def test_bleu_is_that_of_sacrebleu() -> None:
    """With the same smoothing, which it knows as adding 1."""
    rng = random.Random(0)
    references = sentences(rng)
    captions = captions_of(references, rng)
    metric = BLEU(tokenize="none", smooth_method="add-k", smooth_value=1)
    expected = [
        metric.sentence_score(" ".join(words), [" ".join(text) for text in texts]).score / 100
        for words, texts in zip(captions, references, strict=True)
    ]
    scorer = BleuScorer(references)
    found = [scorer(image, [words])[0] for image, words in enumerate(captions)]
    assert found == pytest.approx(expected, abs=1e-9)
    assert max(found) == pytest.approx(1) and min(found) == 0 and len(set(found)) > 100
    # Several captions of an image do not change each other's scores.
    assert scorer(7, captions[:10]) == [scorer(7, [words])[0] for words in captions[:10]]


def test_counts_and_lengths_are_those_of_the_evaluation() -> None:
    """Where a caption is the beginning of a reference, there is nothing to smooth: the penalty alone is left."""
    rng = random.Random(1)
    references = [[words for words in texts if len(words) > 4] or [WORDS[:5]] for texts in sentences(rng)]
    captions = [texts[0][: rng.randint(4, len(texts[0]))] for texts in references]
    _, (*_, expected) = Bleu(4).compute_score(
        {i: [" ".join(words) for words in texts] for i, texts in enumerate(references)},
        {i: [" ".join(words)] for i, words in enumerate(captions)},
        verbose=0,
    )
    scorer = BleuScorer(references)
    found = [scorer(image, [words])[0] for image, words in enumerate(captions)]
    assert found == pytest.approx(expected, abs=1e-6) and min(found) < 0.5
