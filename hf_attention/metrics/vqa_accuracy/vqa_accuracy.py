"""The accuracy of the VQA data sets (Antol et al. 2015), and exact match."""

import re
from collections import Counter
from collections.abc import Sequence

import evaluate

from hf_attention.metrics.references import as_lists, one_or_several_references


METRICS = ("exact_match", "vqa_accuracy")
FULL_VOTES = 3  # an answer that so many annotators gave is right in full

_CITATION = """\
@inproceedings{antol2015vqa, title={VQA: Visual Question Answering}, author={Antol, Stanislaw and others},
  booktitle={ICCV}, year={2015}}"""

_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_ARTICLES = {"a", "an", "the"}
_NUMBERS = "none one two three four five six seven eight nine ten".split()
_DIGITS = {"zero": "0", **{word: str(number) for number, word in enumerate(_NUMBERS)}}
_SHORTENED = """
    ain't aren't can't couldn't didn't doesn't don't hadn't hasn't haven't isn't mightn't mustn't needn't oughtn't
    shan't shouldn't wasn't weren't won't wouldn't could've might've must've not've should've would've
    he'd he's it'd it'll they'd they'll they're they've we've you'd you'll you're you've that's there'd there're
    there's
    how'd how'll how's what'll what're what's what've when's where'd where's where've who'd who'll who's who've
    why'll why're why's somebody'd somebody'll somebody's someone'd someone'll someone's something'd something'll
    ma'am o'clock 'twas y'all
"""
_WITH_APOSTROPHE = {word.replace("'", ""): word for word in _SHORTENED.split()}


def normalize_answer(answer: str) -> str:
    """
    The answer as the VQA data sets compare it.

    Punctuation becomes a space, or nothing where it stands at the edge of a word or the answer has a number such as
    1,000; of full stops only decimal points are left. Then all is lower-cased, numbers up to ten are written in
    digits, articles are left out, and shortened words get their apostrophe.

    Args:
        answer (`str`):
            An answer.
    """
    answer = " ".join(answer.split())
    text = answer
    for mark in _MARKS:
        if mark in answer:
            at_edge = f"{mark} " in answer or f" {mark}" in answer or re.search(r"\d,\d", answer)
            text = text.replace(mark, "" if at_edge else " ")
    words = re.sub(r"\.(?!\d)", "", text).lower().split()
    words = [_DIGITS.get(word, word) for word in words if word not in _ARTICLES]
    return " ".join(_WITH_APOSTROPHE.get(word, word) for word in words)


def vqa_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """
    How right an answer is: min(n / 3, 1) of n annotators who gave it, a mean over all choices of all but one of
    them, so that people can be scored likewise (Antol et al. 2015, section 3). Of ten annotators one counts 0.3. Where
    fewer than three are left, all of them take the place of three.

    Args:
        prediction (`str`):
            The answer.
        answers (`Sequence[str]`):
            One for each annotator; of a single one's, whether it is the same.

    Returns:
        `float`: From 0 to 1, both sides normalised by [`normalize_answer`].
    """
    total = len(answers)
    votes = Counter(map(normalize_answer, answers))[normalize_answer(prediction)]
    if total == 1:
        return float(votes)
    full = min(FULL_VOTES, total - 1)
    without_one, without_another = min(max(votes - 1, 0) / full, 1), min(votes / full, 1)
    return (votes * without_one + (total - votes) * without_another) / total


def most_common(answers: Sequence[str]) -> str:
    """The answer that most annotators gave; of several such, the first."""
    return Counter(answers).most_common(1)[0][0]


def answer_metrics(predictions: Sequence[str], answers: Sequence[Sequence[str]]) -> dict[str, float]:
    """
    Scores answers, from 0 to 1.

    Args:
        predictions (`Sequence[str]`):
            The answer to each question.
        answers (`Sequence[Sequence[str]]`):
            The right answers to each, one for each annotator.

    Returns:
        `dict[str, float]`: `exact_match`, the share of answers that are the most common right one, letter for letter
        but for the white space around it; with several annotators also `vqa_accuracy`, the mean of [`vqa_accuracy`].

    Raises:
        ValueError: If there are no predictions, not as many as questions, or a question without an answer.
    """
    if not predictions or len(predictions) != len(answers) or not all(answers):
        raise ValueError(
            f"Scores need predictions and at least one right answer for each, got {len(predictions)} predictions, "
            f"{len(answers)} questions and {sum(not given for given in answers)} questions without an answer."
        )
    pairs = list(zip(predictions, answers, strict=True))
    exact = sum(prediction.strip() == most_common(given).strip() for prediction, given in pairs)
    metrics = {"exact_match": exact / len(pairs)}
    if any(len(given) > 1 for given in answers):
        metrics["vqa_accuracy"] = sum(vqa_accuracy(*pair) for pair in pairs) / len(pairs)
    return metrics


class VQAAccuracy(evaluate.Metric):
    """[`answer_metrics`] as a module of `evaluate`."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=__doc__,
            citation=_CITATION,
            inputs_description=answer_metrics.__doc__,
            features=one_or_several_references(),
        )

    def _compute(self, predictions: list[str], references: list[list[str]] | list[str]) -> dict[str, float]:
        return answer_metrics(predictions, as_lists(references))
