"""The answers that a model knows, and how right each is."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import torch

from ....metrics.vqa_accuracy.vqa_accuracy import FULL_VOTES
from ...data.absent import MIN_EXPECTED, absent_pairs


def answer_vocabulary(
    answers: Sequence[Sequence[str]], max_answers: int | None = None, min_answer_count: int = 1
) -> list[str]:
    """
    The answers in order of their frequency; of equally frequent ones, the first seen comes first.

    Args:
        answers (`Sequence[Sequence[str]]`):
            The answers of each question.
        max_answers (`int`, *optional*):
            At most so many.
        min_answer_count (`int`, *optional*, defaults to 1):
            How often an answer must occur.

    Raises:
        ValueError: If none is frequent enough.
    """
    counts = Counter(answer for given in answers for answer in given)
    known = [answer for answer, count in counts.most_common(max_answers) if count >= min_answer_count]
    if not known:
        raise ValueError(f"No answer occurs `min_answer_count`={min_answer_count} times.")
    return known


def answer_scores(given: Sequence[str]) -> dict[str, float]:
    """How right each answer is: in full where three annotators, or all of fewer, gave it."""
    return {answer: min(count / min(FULL_VOTES, len(given)), 1) for answer, count in Counter(given).items()}


def answer_labels(
    answers: Sequence[Sequence[str]], label2id: Mapping[str, int], problem_type: str
) -> list[torch.Tensor | None]:
    """
    The labels of [`AttentionVQAForQuestionAnswering`].

    Args:
        answers (`Sequence[Sequence[str]]`):
            The answers of each question.
        label2id (`Mapping[str, int]`):
            The number of each known answer.
        problem_type (`str`):
            As in the configuration.

    Returns:
        `list`: For each question a vector with the scores of the known answers, or with one annotator and
        `"single_label_classification"` the number of the answer, with several their shares; `None` where no answer is
        known.
    """
    single = problem_type == "single_label_classification"
    one_each = all(len(given) == 1 for given in answers)
    labels: list[torch.Tensor | None] = []
    for given in answers:
        known = Counter(answer for answer in given if answer in label2id)
        if not known:
            labels.append(None)
        elif single and one_each:
            labels.append(torch.tensor(label2id[given[0]]))
        else:
            scores = torch.zeros(len(label2id))
            for answer, score in answer_scores(given).items() if not single else known.items():
                if answer in known:
                    scores[label2id[answer]] = score / known.total() if single else score
            labels.append(scores)
    return labels


def leave_out_absent_answers(
    labels: Sequence[int],
    texts: Sequence[str],
    kinds: Sequence[str],
    num_answers: int,
    min_expected: int = MIN_EXPECTED,
) -> list[torch.Tensor]:
    """
    Leaves those answers out of a question's labels that it never gets, though others of its kind do.

    Where the data have no red star, "what shape is the red object ?" is never answered by "star", and a model reads
    off the question that it cannot be one, whatever it sees (Agrawal et al. 2018). This is a product of experts (Clark
    et al. 2019) whose other expert knows what never occurs: the loss has nothing left to learn from that.

    Args:
        labels (`Sequence[int]`):
            The number of the right answer of each question.
        texts (`Sequence[str]`):
            The questions.
        kinds (`Sequence[str]`):
            What kind of question each is.
        num_answers (`int`):
            How many answers there are.
        min_expected (`int`, *optional*, defaults to 20):
            How often the answer would have occurred, by its share of the answers to questions of the kind.

    Returns:
        `list[torch.Tensor]`: For each question 1 at its answer, -100 at those left out and 0 at the others.
    """
    counts: dict[str, dict[str, torch.Tensor]] = defaultdict(lambda: defaultdict(lambda: torch.zeros(num_answers)))
    for label, text, kind in zip(labels, texts, kinds, strict=True):
        counts[kind][text][label] += 1
    scores = {
        (kind, text): torch.where(absent, -100.0, 0.0)
        for kind, by_text in counts.items()
        for text, absent in zip(by_text, absent_pairs(torch.stack([*by_text.values()]), min_expected), strict=True)
    }
    rows = zip(labels, texts, kinds, strict=True)
    return [scores[kind, text].index_fill(0, torch.tensor(label), 1.0) for label, text, kind in rows]
