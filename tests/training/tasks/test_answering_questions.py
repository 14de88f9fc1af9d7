"""Questions that share images, and the answers that are known."""

import re

import pytest
from datasets import Dataset, Features, List, Value

from hf_attention.training.tasks.answering.labels import (
    answer_labels,
    answer_scores,
    answer_vocabulary,
    leave_out_absent_answers,
)
from hf_attention.training.tasks.answering.questions import read_questions


@pytest.fixture(scope="module")
def rows() -> Dataset:
    return Dataset.from_list(
        [
            {
                "image": {"bytes": path.encode(), "path": path},
                "picture": path[0],
                "question": question,
                "answer": answer,
            }
            for path, question, answer in (
                ("a.png", "what is in the image12 ?", "chair"),
                ("b.png", "how many in the image13 ?", "2"),
                ("a.png", "what is on the left in the image12 ?", "bed, lamp"),
            )
        ]
    )


def test_questions_share_images(rows: Dataset) -> None:
    from datasets import Image

    namesakes = rows.map(lambda row: {"image": {**row["image"], "path": "1.png"}}).cast_column("image", Image())
    assert read_questions(namesakes, "image", "question", "answer").image == [0, 1, 0]
    rows = rows.cast_column("image", Image())
    pattern = r"\s*in the image\d+"
    for column in (None, "picture"):
        questions = read_questions(rows, "image", "question", "answer", column, pattern)
        assert questions.image == [0, 1, 0] and len(questions.images) == 2
        assert questions.texts == ["what is ?", "how many ?", "what is on the left ?"]
        assert questions.answers == [["chair"], ["2"], ["bed, lamp"]]
    with pytest.raises(ValueError, match="question_column"):
        read_questions(rows, "image", "questions", "answer")
    blank = rows.map(lambda row: {"question": "  "})
    with pytest.raises(ValueError, match=re.escape("Row 0 of the column 'question'")):
        read_questions(blank, "image", "question", "answer")


@pytest.mark.parametrize("kind", ["List", "Sequence"])
def test_answers_of_vqa_v2(kind: str) -> None:
    """A dictionary for each annotator, as the Hub's VQAv2 has it; of the test questions there are none."""
    annotator = {"answer": Value("string"), "answer_confidence": Value("string"), "answer_id": Value("int64")}
    feature = [annotator] if kind == "List" else {name: List(value) for name, value in annotator.items()}
    features = Features({"image": Value("string"), "question": Value("string"), "answers": feature})
    given = [
        {"answer": answer, "answer_confidence": "yes", "answer_id": number}
        for number, answer in enumerate(["net", "net ", "the net"], 1)
    ]
    if kind == "Sequence":
        given = {name: [each[name] for each in given] for name in annotator}
    rows = {"image": ["a"] * 2, "question": ["what is this?", "where?"], "answers": [given, None]}
    dataset = Dataset.from_dict(rows, features=features)
    columns = ("image", "question", "answers", "image")
    with pytest.raises(ValueError, match="Row 1 .*`answer_column`.*`drop_unanswered`"):
        read_questions(dataset, *columns)
    questions = read_questions(dataset, *columns, drop_unanswered=True)
    assert questions.answers == [["net", "net", "the net"]] and questions.texts == ["what is this?"]


def test_answer_vocabulary() -> None:
    answers = [["red", "red"], ["blue"], ["two"], ["blue"], ["blue"]]
    assert answer_vocabulary(answers) == ["blue", "red", "two"]
    assert answer_vocabulary(answers, max_answers=1) == ["blue"]
    assert answer_vocabulary(answers, min_answer_count=2) == ["blue", "red"]
    with pytest.raises(ValueError, match="min_answer_count"):
        answer_vocabulary(answers, min_answer_count=4)


def test_scores_of_several_annotators() -> None:
    """With ten annotators, min(votes / 3, 1)."""
    given = ["red"] * 6 + ["dark red"] * 2 + ["pink", "blue"]
    assert answer_scores(given) == {"red": 1, "dark red": 2 / 3, "pink": 1 / 3, "blue": 1 / 3}
    assert answer_scores(["red"]) == {"red": 1}


def test_labels_name_known_answers_only() -> None:
    label2id = {"red": 0, "blue": 1, "two": 2}
    one_each = answer_labels([["blue"], ["pink"], ["two"]], label2id, "single_label_classification")
    assert [label if label is None else label.item() for label in one_each] == [1, None, 2]
    several = [["red", "red", "blue", "pink"], ["pink", "pink", "pink", "pink"]]
    shares = answer_labels(several, label2id, "single_label_classification")
    assert shares[0].tolist() == pytest.approx([2 / 3, 1 / 3, 0]) and shares[1] is None
    scores = answer_labels(several, label2id, "multi_label_classification")
    assert scores[0].tolist() == pytest.approx([2 / 3, 1 / 3, 0]) and scores[1] is None


def test_answers_that_a_question_never_gets_are_left_out() -> None:
    answers = ["red", "blue", "star", "ring"]
    asked = [("shape", "red", "ring")] * 30 + [("shape", "blue", "star")] * 10 + [("shape", "blue", "ring")] * 2
    asked += [("shape", "green", "ring")] * 8 + [("colour", "star", "blue")] * 30 + [("colour", "ring", "red")] * 30
    kinds, texts, given = zip(*asked, strict=True)
    labels = leave_out_absent_answers([answers.index(answer) for answer in given], texts, kinds, 4, min_expected=6)
    expected = {
        ("red", "ring"): [0, 0, -100, 1],  # 30 * 10 / 50 stars
        ("blue", "star"): [0, 0, 1, 0],
        ("blue", "ring"): [0, 0, 0, 1],
        ("green", "ring"): [0, 0, 0, 1],  # 8 * 10 / 50 stars are too few to say
        ("star", "blue"): [-100, 1, 0, 0],
        ("ring", "red"): [1, -100, 0, 0],
    }
    assert [label.tolist() for label in labels] == [expected[text, answer] for _, text, answer in asked]
