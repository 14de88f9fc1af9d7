import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from common.scores import check_card_picture, evaluate_model
from common.scripts import SCRIPTS, logged, run_script
from common.tiny_vqa import WORDS, make_model, make_processor
from datasets import Dataset, DatasetDict
from tokenizers import processors
from torch.testing import assert_close
from transformers import PreTrainedModel, ResNetConfig, ResNetModel, pipeline

from hf_attention import AttentionVQAForConditionalGeneration, AttentionVQAForQuestionAnswering
from hf_attention.metrics.vqa_accuracy.vqa_accuracy import answer_metrics
from hf_attention.models.versions import pillow_image_processor
from hf_attention.scenes import make_scene_questions
from hf_attention.training.data.images import RegionSource
from hf_attention.training.data.sampling import CaptionGroup
from hf_attention.training.data.tokenization import train_tokenizer
from hf_attention.training.tasks.answering.evaluation import AnsweringEvaluator
from hf_attention.training.tasks.answering.examples import (
    AnsweringCollator,
    AnsweringDataset,
    AnsweringObjective,
    question_batch,
)
from hf_attention.training.tasks.answering.labels import (
    answer_labels,
    answer_scores,
    answer_vocabulary,
    leave_out_absent_answers,
)
from hf_attention.training.tasks.answering.questions import Questions, mirrored_text, read_questions, split_by_image


BACKBONE = {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1], "layer_type": "basic"}
NEW_MODEL = {
    "image_size": 32,
    "embedding_size": 16,
    "encoder_hidden_size": 32,
    "hidden_size": 32,
    "attention_size": 16,
    "memory_size": 32,
    "label_smoothing": 0,
    **dict.fromkeys(["embedding_dropout", "hidden_dropout", "question_dropout", "joint_dropout"], 0.0),
}
TRAINING = {
    "warmup_steps": 3,
    "logging_steps": 1,
    "learning_rate": 1e-2,
    "batch_size": 32,
    "questions_per_image": 4,
    "ema_decay": 0.5,
}


@pytest.fixture(scope="module")
def questions() -> DatasetDict:
    return make_scene_questions(train=40, validation=0, test=8, held_out=0, image_size=32, questions_per_scene=6)


@pytest.fixture(scope="module")
def folder(questions: DatasetDict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set and a backbone, as folders."""
    folder = tmp_path_factory.mktemp("inputs")
    questions.save_to_disk(folder / "questions")
    ResNetConfig(**BACKBONE).save_pretrained(folder / "config")
    torch.manual_seed(0)
    ResNetModel(ResNetConfig(**BACKBONE)).save_pretrained(folder / "backbone")
    pillow_image_processor("ViTImageProcessor")(size={"height": 64, "width": 64}).save_pretrained(folder / "backbone")
    return folder


@pytest.fixture
def train_vqa(folder: Path) -> Callable:
    """Runs the script with the options given."""

    def run(**given) -> None:
        new_model = {} if "model_name_or_path" in given else NEW_MODEL
        folders = {"dataset_name": folder / "questions", "features_dir": folder / "features"}
        run_script("train_vqa", **folders, **{**new_model, **TRAINING, **given})

    return run


@pytest.mark.parametrize(
    "options",
    [
        {"mirror": True, "min_answer_count": 15},
        {"attention_form": "top_down", "problem_type": "multi_label_classification"},
        {"head": "generating", "attention_form": "stacked"},
    ],
    ids=["answering", "soft", "generating"],
)
def test_frozen_backbone(
    questions: DatasetDict, folder: Path, train_vqa: Callable, tmp_path: Path, options: dict
) -> None:
    output_dir = tmp_path / "run"
    train_vqa(backbone=folder / "backbone", output_dir=output_dir, num_train_epochs=6, do_test=True, **options)
    found = logged(output_dir, "loss")
    assert np.mean(found[-4:]) < 0.8 * np.mean(found[:4])
    check_card_picture(output_dir)
    results = json.loads((output_dir / "results.json").read_text())
    assert results["images"] == {"train": 36, "validation": 4, "test": 8}
    assert results["questions"] == {"train": 216, "validation": 24, "test": 48}
    # Features are kept for each image, not for each question.
    shapes = {np.load(path, mmap_mode="r").shape[0] for path in (folder / "features").iterdir()}
    assert shapes == {36, 4, 8}
    # The folder is a model like any other, and gives the answers that were scored.
    test = questions["test"]
    vqa = pipeline("vqa", model=str(output_dir), device="cpu")
    pairs = [{"image": row["image"], "question": row["question"]} for row in test]
    answers = [records[0]["answer"] for records in vqa(pairs, batch_size=16, top_k=1)]
    assert answer_metrics(answers, [[answer] for answer in test["answer"]]) == pytest.approx(results["test"])
    assert evaluate_model("answers", output_dir, dataset_name=folder / "questions") == pytest.approx(results["test"])
    if "min_answer_count" in options:
        known = set(vqa.model.config.label2id)
        assert results["known_answers"] == len(known) < len(set(questions["train"]["answer"]))
        assert results["without_known_answer"]["test"] == sum(answer not in known for answer in test["answer"])


def test_blind_and_without_attention(folder: Path, train_vqa: Callable, tmp_path: Path) -> None:
    for name, options in (("none", {}), ("blind", {"blind": True})):
        train_vqa(
            backbone=folder / "backbone",
            output_dir=tmp_path / name,
            num_train_epochs=1,
            attention_form="none",
            **options,
        )
    with pytest.raises(ValueError, match="blind"):
        train_vqa(backbone_config=folder / "config", output_dir=tmp_path / "other", blind=True)


def test_a_ready_tokenizer_closes_answers_in_words(folder: Path, train_vqa: Callable, tmp_path: Path) -> None:
    """Else the model would never stop answering. One that chooses among answers need not stop."""
    tokenizer = train_tokenizer(["what colour is the star ?"])
    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel()
    tokenizer.save_pretrained(tmp_path / "open")
    options = {"tokenizer_name": tmp_path / "open", "backbone": folder / "backbone", "num_train_epochs": 1}
    with pytest.raises(ValueError, match="does not close a text"):
        train_vqa(**options, output_dir=tmp_path / "words", head="generating")
    with pytest.raises(ValueError, match="Leave out `lowercase`: with `tokenizer_name`"):
        train_vqa(**options, output_dir=tmp_path / "choice", lowercase=True)
    train_vqa(**options, output_dir=tmp_path / "choice")
    assert (tmp_path / "choice" / "model.safetensors").is_file()


def test_backbone_from_scratch_goes_on_from_a_trained_model(folder: Path, train_vqa: Callable, tmp_path: Path) -> None:
    train_vqa(backbone_config=folder / "config", output_dir=tmp_path / "first", num_train_epochs=4)
    options = {"model_name_or_path": tmp_path / "first", "train_backbone": True, "num_train_epochs": 1}
    train_vqa(**options, output_dir=tmp_path / "second")
    assert logged(tmp_path / "second", "loss")[0] < logged(tmp_path / "first", "loss")[0]
    for option in ({"attention_form": "top_down"}, {"head": "generating"}, {"min_count": 2}, {"max_answers": 3}):
        with pytest.raises(ValueError, match=f"Leave out `{next(iter(option))}`: with `model_name_or_path`"):
            train_vqa(model_name_or_path=tmp_path / "first", output_dir=tmp_path / "third", **option)


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


class NoImage:
    def inputs(self, row: int, mirrored: bool) -> dict:
        return {}


def test_left_and_right_change_places_in_a_mirrored_image() -> None:
    assert mirrored_text("Left of RIGHT, not leftover") == "Right of LEFT, not leftover"
    texts = ["is it left or right", "where", "what"]
    answers = [["left"], ["on the right"], ["star"]]
    label2id = {"left": 0, "right": 1, "on the right": 2, "star": 3}
    kind = "single_label_classification"
    mirrored = answer_labels([[mirrored_text(answer) for answer in given] for given in answers], label2id, kind)
    tokenizer = train_tokenizer([*texts, "on the left"])
    dataset = AnsweringDataset(
        NoImage(),
        Questions(Dataset.from_dict({"image": [0]}), [0, 0, 0], texts, answers),
        answer_labels(answers, label2id, kind),
        tokenizer,
        20,
        mirrored,
    )
    for is_mirrored, labels in ((False, [0, 2, 3]), (True, [1, -100, 3])):  # "on the left" is no known answer
        example = dataset[CaptionGroup(0, (0, 1, 2), is_mirrored)]
        assert [label.item() for label in example["labels"]] == labels
        first = tokenizer.decode(example["input_ids"][0], skip_special_tokens=True)
        assert first == (mirrored_text(texts[0]) if is_mirrored else texts[0])


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


def test_split_by_image() -> None:
    ids = [f"image{number % 20}" for number in range(90)]
    rows, held_out = split_by_image(ids, 0.25, seed=3)
    assert sorted([*rows, *held_out]) == list(range(90))
    assert not {ids[row] for row in rows} & {ids[row] for row in held_out}
    assert len({ids[row] for row in held_out}) == 5
    assert split_by_image(ids, 0.25, seed=3) == (rows, held_out) != split_by_image(ids, 0.25, seed=4)
    with pytest.raises(ValueError, match="one side empty"):
        split_by_image(ids, 0.01)


def test_answer_vocabulary() -> None:
    answers = [["red", "red"], ["blue"], ["two"], ["blue"], ["blue"]]
    assert answer_vocabulary(answers) == ["blue", "red", "two"]
    assert answer_vocabulary(answers, max_answers=1) == ["blue"]
    assert answer_vocabulary(answers, min_count=2) == ["blue", "red"]
    with pytest.raises(ValueError, match="min_count"):
        answer_vocabulary(answers, min_count=4)


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


def test_images_with_fewer_questions_are_filled_up() -> None:
    collator, objective = AnsweringCollator(pad_token_id=0), AnsweringObjective()
    image = torch.zeros(2, 3)

    def batch(*labels: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        words = [[[5, 6, 3], [7, 3]], [[8, 3]]]
        return collator(
            [{"region_features": image, "input_ids": w, "labels": each} for w, each in zip(words, labels, strict=True)]
        )

    classes = batch([torch.tensor(1), torch.tensor(4)], [torch.tensor(2)])
    assert classes["region_features"].shape == (2, 2, 3)
    assert classes["input_ids"].tolist() == [[5, 6, 3], [7, 3, 0], [8, 3, 0], [8, 3, 0]]
    assert classes["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0], [1, 1, 0], [1, 1, 0]]
    assert classes["labels"].tolist() == [1, 4, 2, -100]
    scores = batch([torch.rand(3), torch.rand(3)], [torch.rand(3)])
    assert scores["labels"].shape == (4, 3) and (scores["labels"][3] == -100).all()
    scores["labels"][0, 0] = -100  # one answer is left out, the question counts
    assert objective.num_items(classes) == objective.num_items(scores) == 3
    answers = batch([torch.tensor([9, 3]), torch.tensor([3])], [torch.tensor([9, 9, 3])])
    assert answers["labels"].tolist() == [[9, 3, -100], [3, -100, -100], [9, 9, 3], [-100] * 3]


@pytest.mark.parametrize("head", [AttentionVQAForQuestionAnswering, AttentionVQAForConditionalGeneration])
@torch.no_grad()
def test_questions_about_an_image_are_answered_together_as_each_alone(head: type[PreTrainedModel]) -> None:
    torch.manual_seed(0)
    tokenizer = make_processor().tokenizer
    model = make_model(head, backbone=None, region_size=9).eval()
    for parameter in model.parameters():
        parameter.normal_()  # so that answers differ
    images = [0, 1, 1, 3, 0, 1, 1, 1, 1, 2, 1]
    regions = torch.randn(4, 5, 9)
    texts = [" ".join(WORDS[row : row + 2 + row % 4]) for row in range(len(images))]
    questions = Questions(Dataset.from_dict({"number": range(4)}), images, texts, [["two"]] * len(images))
    source, rows = RegionSource(regions.numpy()), [7, 0, 1, 2, 9, 3, 4, 5, 6, 8]
    batch, places = question_batch(source, questions, rows, tokenizer, max_length=4)
    assert len(batch["region_features"]) == 5 and len(batch["input_ids"]) == 15  # image 1 twice
    for row, place in zip(rows, places, strict=True):
        ids = tokenizer(texts[row], truncation=True, max_length=4)["input_ids"]
        assert batch["input_ids"][place][batch["attention_mask"][place].bool()].tolist() == ids
        image = place // 3
        assert_close(batch["region_features"][image], regions[images[row]])
    evaluator = AnsweringEvaluator(source, questions, tokenizer, Accelerator(cpu=True), batch_size=10)
    options = {"max_length": 6, "num_beams": 2} if model.can_generate() else {}
    alone = []
    for image, text in zip(images, texts, strict=True):
        inputs = {"region_features": regions[[image]], **tokenizer([text], return_tensors="pt")}
        if model.can_generate():
            alone += tokenizer.batch_decode(model.generate(**inputs, **options), skip_special_tokens=True)
        else:
            alone.append(model.config.id2label[model(**inputs).logits.argmax().item()])
    assert evaluator.answers(model, **options) == alone and len(set(alone)) > 1


def test_daquar(hf_attention_data: Path) -> None:
    """Every question names its file; the pattern of the script's example strips it."""
    from datasets import load_dataset

    dataset = load_dataset(str(hf_attention_data / "data" / "daquar"))["train"]
    script = (SCRIPTS / "train_vqa.py").read_text()
    pattern = re.search(r"--question_pattern '([^']+)'", script).group(1).replace("\\\\", "\\")
    questions = read_questions(dataset, "image", "question", "answer", "image_id", pattern)
    assert len(questions.images) == 794
    assert not any("image" in text for text in questions.texts)
