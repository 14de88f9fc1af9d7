import random

import pytest
from common.tiny_captioner import WORDS
from pycocoevalcap.cider.cider import Cider

from hf_attention.metrics.words import metric_words
from hf_attention.training.tasks.captioning.cider import CiderScorer, consensus_weights


REFERENCES = [
    ["a red circle left of a square", "A small red circle."],
    ["a blue star", "the star is blue", "large blue star right of a square"],
    ["green square", "a green square"],
]


def test_cider_is_that_of_the_evaluation() -> None:
    rng = random.Random(0)

    def sentence() -> list[str]:
        return rng.choices(WORDS, weights=range(1, len(WORDS) + 1), k=rng.randint(1, 14))

    references = [[sentence() for _ in range(rng.randint(1, 5))] for _ in range(200)]
    captions = [rng.choice([sentence(), texts[0], texts[-1][:3], []]) for texts in references]
    captions[0] = ["a"] * 9
    captions[1] = ["unheard", "of"]
    _, expected = Cider().compute_score(
        {i: [" ".join(words) for words in texts] for i, texts in enumerate(references)},
        {i: [" ".join(words)] for i, words in enumerate(captions)},
    )
    scorer = CiderScorer(references)
    found = [scorer(image, [words])[0] for image, words in enumerate(captions)]
    assert found == pytest.approx(expected.tolist(), abs=1e-9)
    assert max(found) > 5 and min(found) == 0
    # Several captions of an image do not change each other's scores.
    assert scorer(7, captions[:10]) == [scorer(7, [words])[0] for words in captions[:10]]


def test_a_caption_weighs_what_it_scores_by_the_others() -> None:
    references = [[metric_words(text) for text in texts] for texts in REFERENCES]
    references.append([["nobody", "else", "wrote", "this"]])
    scores = []
    for image, texts in enumerate(references[:-1]):
        for number, words in enumerate(texts):
            scorer = CiderScorer(references)  # the document frequencies are those of all captions
            scorer.references = list(references)
            scorer.references[image] = texts[:number] + texts[number + 1 :]
            scores += scorer(image, [words])
    mean = sum(scores) / len(scores)
    assert min(scores) < 0.7 * mean < 1.3 * mean < max(scores)
    weights = consensus_weights(references)
    assert [weight for texts in weights[:-1] for weight in texts] == pytest.approx([score / mean for score in scores])
    assert weights[-1] == [1]
    with pytest.raises(ValueError, match="No image has two captions"):
        consensus_weights([[["a"]], [["b"]]])
