"""The loss of answers chosen among those that are known."""

import pytest
import torch
from common.factories import make_questions
from common.tiny_vqa import ANSWERS, make_model
from torch.nn import functional as F
from torch.testing import assert_close

from hf_attention import AttentionVQAForQuestionAnswering


def answering(form: str | None = "glimpses", **settings) -> AttentionVQAForQuestionAnswering:
    """Without a backbone, for the inputs of the common suite."""
    return make_model(backbone=None, region_size=9, attention_form=form, **settings)


@torch.no_grad()
def test_losses_equal_the_papers() -> None:
    inputs, scores = make_questions(3), torch.rand(3, len(ANSWERS))
    model = answering()
    logits = model(**inputs).logits
    # ViLT; Anderson et al.: a binary cross-entropy for each answer, summed over the answers.
    probability = 1 / (1 + torch.exp(-logits))
    by_hand = -(scores * probability.log() + (1 - scores) * (1 - probability).log()).sum() / 3
    assert_close(model(**inputs, labels=scores).loss, by_hand)
    assert_close(model(**inputs, labels=scores, num_items_in_batch=12).loss, by_hand / 4)
    scores[1] = -100  # does not count
    some = model(**inputs, labels=scores).loss
    probability, rest = probability[[0, 2]], scores[[0, 2]]
    assert_close(some, -(rest * probability.log() + (1 - rest) * (1 - probability).log()).sum() / 2)
    # Kazemi & Elqursh: the mean over the annotators of the negative log-likelihood of their answers.
    model = answering(problem_type="single_label_classification")
    log_probability = model(**inputs).logits.log_softmax(-1)
    votes = [[0, 0, 1], [2, 2, 2], [4, 3, 1]]
    by_hand = -sum(sum(log_probability[row, vote] for vote in given) / 3 for row, given in enumerate(votes)) / 3
    shares = torch.stack([F.one_hot(torch.tensor(given), len(ANSWERS)).float().mean(0) for given in votes])
    assert_close(model(**inputs, labels=shares).loss, by_hand)
    # An answer of -100 is none of those that a question can have.
    shares[0, 2:] = shares[1, 0] = shares[2] = -100
    log_probability = model(**inputs).logits
    first, second = log_probability[0, :2].log_softmax(-1), log_probability[1, 1:].log_softmax(-1)
    assert_close(model(**inputs, labels=shares).loss, -(2 / 3 * first[0] + 1 / 3 * first[1] + second[1]) / 2)
    scores = torch.tensor([[-100.0, 1, 0, -100, 0.5]]).expand(3, -1)
    binary = answering()
    by_hand = F.binary_cross_entropy_with_logits(binary(**inputs).logits[:, [1, 2, 4]], scores[:, [1, 2, 4]])
    assert_close(binary(**inputs, labels=scores).loss, by_hand * 3)
    # One right answer; -100 does not count.
    log_probability = log_probability.log_softmax(-1)
    labels = torch.tensor([3, -100, 1])
    assert_close(model(**inputs, labels=labels).loss, -(log_probability[0, 3] + log_probability[2, 1]) / 2)


def test_labels_that_name_no_answer_are_refused() -> None:
    inputs = make_questions(2)
    single = answering(problem_type="single_label_classification")
    for labels in (torch.tensor([0, 5]), torch.tensor([-1, 0]), torch.tensor([[0], [1]])):
        with pytest.raises(ValueError, match="from 0 to 4"):
            single(**inputs, labels=labels)
    with pytest.raises(ValueError, match=r"\(2, 5\)"):
        answering()(**inputs, labels=torch.rand(2, 4))
    with pytest.raises(ValueError, match="score for each answer"):
        answering()(**inputs, labels=torch.tensor([0, 1]))


def test_label_smoothing_is_for_training() -> None:
    inputs, labels = make_questions(2), torch.tensor([0, 3])
    plain, smooth = (
        answering(problem_type="single_label_classification", label_smoothing=smoothing) for smoothing in (0.0, 0.3)
    )
    smooth.load_state_dict(plain.state_dict())
    assert_close(smooth(**inputs, labels=labels).loss, plain(**inputs, labels=labels).loss)
    log_probability = plain(**inputs).logits.log_softmax(-1)
    by_hand = -(0.7 * log_probability[[0, 1], labels] + 0.3 * log_probability.mean(-1)).mean()
    assert_close(smooth.train()(**inputs, labels=labels).loss, by_hand)
    # In shares, and over the answers that are not left out.
    shares = F.one_hot(labels, len(ANSWERS)).float()
    assert_close(smooth(**inputs, labels=shares).loss, by_hand)
    shares[:, 4] = -100
    log_probability = smooth(**inputs).logits[:, :4].log_softmax(-1)
    by_hand = -(0.7 * log_probability[[0, 1], labels] + 0.3 * log_probability.mean(-1)).mean()
    assert_close(smooth(**inputs, labels=shares).loss, by_hand)
