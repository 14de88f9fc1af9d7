"""`scripts/train_vqa.py`."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from common.scores import check_card_picture, evaluate_model
from common.scripts import logged, run_script
from datasets import Dataset, DatasetDict
from tokenizers import processors
from transformers import BertConfig, BertModel, ResNetConfig, ResNetModel, pipeline

from hf_attention import checkpoint
from hf_attention.metrics.vqa_accuracy.vqa_accuracy import answer_metrics
from hf_attention.models.versions import pillow_image_processor
from hf_attention.scenes import make_scene_questions
from hf_attention.training.data.held_out import HeldOutArguments
from hf_attention.training.data.tokenization import train_tokenizer
from hf_attention.training.recipes import read_recipe
from hf_attention.training.tasks.answering.arguments import QuestionDataArguments
from hf_attention.training.tasks.answering.main import load_questions
from hf_attention.training.tasks.answering.questions import read_questions


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
        {"mirror": True, "crops": 2, "min_answer_count": 15, "backbone_layers": [0, 1]},
        {"attention_form": "top_down", "problem_type": "multi_label_classification"},
        {"head": "generating", "attention_form": "stacked", "max_length": 30},
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
    shapes = {np.load(path, mmap_mode="r").shape[0] for path in (folder / "features").glob("*/*.npy")}
    assert shapes == {36, 4, 8}
    # The folder is a model like any other, and gives the answers that were scored.
    test = questions["test"]
    vqa = pipeline("vqa", model=str(output_dir), device="cpu")
    assert vqa.tokenizer.model_max_length == options.get("max_length", 50)
    if vqa.model.can_generate():
        assert vqa.model.generation_config.max_length == 31  # with the start token
    pairs = [{"image": row["image"], "question": row["question"]} for row in test]
    answers = [records[0]["answer"] for records in vqa(pairs, batch_size=16, top_k=1)]
    assert answer_metrics(answers, [[answer] for answer in test["answer"]]) == pytest.approx(results["test"])
    assert evaluate_model("answers", output_dir, dataset_name=folder / "questions") == pytest.approx(results["test"])
    options_of_validation = {"dataset_name": folder / "questions", "split": "validation"}
    assert evaluate_model("answers", output_dir, **options_of_validation) == pytest.approx(results["validation"])
    if "min_answer_count" in options:
        known = set(vqa.model.config.label2id)
        assert results["known_answers"] == len(known) < len(set(questions["train"]["answer"]))
        assert results["without_known_answer"]["test"] == sum(answer not in known for answer in test["answer"])


def test_its_own_validation_split_is_used(tmp_path: Path) -> None:
    splits = make_scene_questions(train=6, validation=3, test=0, held_out=0, image_size=32, questions_per_scene=2)
    splits.save_to_disk(tmp_path / "questions")
    found = load_questions(QuestionDataArguments(dataset_name=str(tmp_path / "questions")), HeldOutArguments(), None)
    assert {name: part.texts for name, part in found.items()} == {
        name: splits[name]["question"][:] for name in ("train", "validation")
    }


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
    with pytest.raises(ValueError, match="`blind` hides the images: leave out `crops`"):
        train_vqa(backbone=folder / "backbone", output_dir=tmp_path / "other", blind=True, crops=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric_for_best_model": "cider"}, "`metric_for_best_model` must be one of exact_match, vqa_accuracy, got"),
        ({"metric_for_best_model": "vqa_accuracy"}, "must be one of exact_match, got 'vqa_accuracy'"),
        ({"questions_per_image": 0}, "`questions_per_image` must be at least 1, got 0"),
        ({"min_count": -1}, "`min_count` must be at least 1, got -1"),
    ],
)
def test_bad_arguments(folder: Path, train_vqa: Callable, tmp_path: Path, options: dict, message: str) -> None:
    """Where there is one annotator, there is no accuracy among them."""
    with pytest.raises(ValueError, match=message):
        train_vqa(backbone=folder / "backbone", output_dir=tmp_path, **options)
    assert not (tmp_path / "log.jsonl").exists()


def test_answers_in_words_are_closed_with_any_tokenizer(
    folder: Path, train_vqa: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Else the model would never stop answering."""
    tokenizer = train_tokenizer(["what colour is the star ?"])
    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel()
    tokenizer.save_pretrained(tmp_path / "open")
    options = {"tokenizer_name": tmp_path / "open", "backbone": folder / "backbone", "num_train_epochs": 1}
    train_vqa(**options, output_dir=tmp_path / "words", head="generating")
    assert "No row of `labels` has an end token" not in caplog.text
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


def test_the_shipped_answerer_goes_on_with_its_backbone_frozen(folder: Path, tmp_path: Path) -> None:
    """It says where its regions are, which stored features must do too."""
    options = {"dataset_name": folder / "questions", "model_name_or_path": "scenes-answerer", "mirror": True}
    run_script("train_vqa", **options, learning_rate=0, max_steps=1, do_test=True, output_dir=tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    assert evaluate_model("answers", tmp_path, dataset_name=folder / "questions") == pytest.approx(results["test"])


def test_questions_with_one_image_id_are_scored_about_one_image(
    questions: DatasetDict, folder: Path, tmp_path: Path
) -> None:
    """The first, as in training."""
    answerer = Path(shutil.copytree(checkpoint("scenes-answerer"), tmp_path / "answerer"))
    vqa = pipeline("vqa", model=str(answerer), device="cpu")
    first, *others = questions["test"]
    about_first = [vqa(first["image"], row["question"], top_k=1)[0]["answer"] for row in others]
    assert about_first != [vqa(row["image"], row["question"], top_k=1)[0]["answer"] for row in others]
    rows = [{**row, "answer": answer, "group": 0} for row, answer in zip(others, about_first, strict=True)]
    rows = [{**first, "answer": vqa(first["image"], first["question"], top_k=1)[0]["answer"], "group": 0}, *rows]
    DatasetDict(test=Dataset.from_list(rows)).save_to_disk(tmp_path / "grouped")
    grouped = {"dataset_name": tmp_path / "grouped"}
    assert evaluate_model("answers", answerer, **grouped, image_id_column="group")["exact_match"] == 1
    assert evaluate_model("answers", answerer, **grouped)["exact_match"] < 1


def test_a_question_encoder_reads_what_it_has_positions_for(
    questions: DatasetDict, folder: Path, train_vqa: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    texts = questions["train"]["question"]
    tokenizer = train_tokenizer(texts)
    lengths = [len(ids) for ids in tokenizer(list(texts))["input_ids"]]
    limit = sorted(lengths)[len(lengths) // 2]
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    torch.manual_seed(0)
    BertModel(
        BertConfig(
            vocab_size=len(tokenizer), max_position_embeddings=limit, pad_token_id=tokenizer.pad_token_id, **sizes
        )
    ).save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")

    options = {"question_encoder": tmp_path / "bert", "backbone": folder / "backbone", "num_train_epochs": 1}
    options |= {"output_dir": tmp_path / "run"}
    with pytest.raises(ValueError, match=f"`max_length` must be at most {limit}, .* got 50"):
        train_vqa(**options)
    train_vqa(**options, max_length=limit)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    too_long = [len(ids) > limit for ids in tokenizer(list(texts[:]))["input_ids"]]
    assert f" questions are longer than `max_length`, {limit} tokens: they lose their end." in caplog.text
    assert any(too_long)
    data = {"dataset_name": folder / "questions", "split": "validation"}
    assert evaluate_model("answers", tmp_path / "run", **data) == pytest.approx(results["validation"])
    with pytest.raises(ValueError, match=f"`max_length` must be at most {limit}, .* got {limit + 1}"):
        train_vqa(model_name_or_path=tmp_path / "run", max_length=limit + 1, output_dir=tmp_path / "second")


def test_daquar(hf_attention_data: Path) -> None:
    """Every question names its file; the pattern of the recipe strips it."""
    from datasets import load_dataset

    dataset = load_dataset(str(hf_attention_data / "data" / "daquar"))["train"]
    pattern = read_recipe("daquar")["question_pattern"]
    questions = read_questions(dataset, "image", "question", "answer", "image_id", pattern)
    assert len(questions.images) == 794
    assert not any("image" in text for text in questions.texts)
