"""transformers' own trainer trains the answering model as it is, on one class or on scores."""

from pathlib import Path

import numpy as np
import pytest
import torch
from common.tiny_vqa import make_config, make_processor
from datasets import Image
from transformers import Trainer, TrainingArguments, pipeline, set_seed

from hf_attention import AttentionVQAForQuestionAnswering
from hf_attention.scenes import make_scene_questions


ROWS = make_scene_questions(train=8, validation=0, test=0, held_out=0, questions_per_scene=4)["train"].to_list()
WORDS = sorted({word for row in ROWS for word in row["question"].split()})
ANSWERS = sorted({row["answer"] for row in ROWS})
PROBLEMS = ("single_label_classification", "multi_label_classification")


def make_trainer(problem_type: str, folder: Path, **arguments) -> Trainer:
    set_seed(0)
    sizes = {
        "hidden_size": 8,
        "embedding_size": 24,
        "encoder_hidden_size": 48,
        "attention_size": 24,
        "memory_size": 32,
    }
    config = make_config("resnet", WORDS, ANSWERS, problem_type=problem_type, freeze_backbone=False, **sizes)
    processor = make_processor(WORDS)

    def collate(rows: list[dict]) -> dict[str, torch.Tensor]:
        labels = torch.tensor([ANSWERS.index(row["answer"]) for row in rows])
        if problem_type == "multi_label_classification":
            labels = torch.nn.functional.one_hot(labels, len(ANSWERS)).float()
        images = [Image().decode_example(row["image"]) for row in rows]
        return {**processor(images, [row["question"] for row in rows], return_tensors="pt"), "labels": labels}

    def compute_metrics(prediction) -> dict[str, float]:
        expected = prediction.label_ids if prediction.label_ids.ndim == 1 else prediction.label_ids.argmax(-1)
        return {"exact_match": float((prediction.predictions.argmax(-1) == expected).mean())}

    settings = {"num_train_epochs": 40, "learning_rate": 5e-3, "per_device_train_batch_size": 16, **arguments}
    return Trainer(
        model=AttentionVQAForQuestionAnswering(config),
        args=TrainingArguments(
            folder, remove_unused_columns=False, report_to="none", save_strategy="no", disable_tqdm=True, **settings
        ),
        train_dataset=ROWS,
        eval_dataset=ROWS,
        data_collator=collate,
        processing_class=processor,
        compute_metrics=compute_metrics,
    )


@pytest.mark.parametrize("problem_type", PROBLEMS)
def test_learns_and_is_loaded_again(problem_type: str, tmp_path: Path) -> None:
    trainer = make_trainer(problem_type, tmp_path / "run")
    before = trainer.evaluate()
    trainer.train()
    after = trainer.evaluate()
    assert after["eval_loss"] < 0.5 * before["eval_loss"]
    assert after["eval_exact_match"] > before["eval_exact_match"] + 0.3
    trainer.save_model(tmp_path / "saved")
    vqa = pipeline("vqa", model=str(tmp_path / "saved"), device="cpu")
    right = [
        vqa(Image().decode_example(row["image"]), row["question"], top_k=1)[0]["answer"] == row["answer"]
        for row in ROWS
    ]
    assert np.mean(right) == pytest.approx(after["eval_exact_match"])


@pytest.mark.parametrize("problem_type", PROBLEMS)
def test_accumulated_batches_equal_a_large_one(problem_type: str, tmp_path: Path) -> None:
    weights = []
    for size, accumulation in ((16, 1), (4, 4)):
        trainer = make_trainer(
            problem_type,
            tmp_path / f"run{size}",
            max_steps=1,
            per_device_train_batch_size=size,
            gradient_accumulation_steps=accumulation,
            optim="sgd",
            learning_rate=0.1,
            lr_scheduler_type="constant",
            max_grad_norm=0.0,
        )
        # Batch norms know the batch.
        trainer.model.get_encoder().image_encoder.backbone.requires_grad_(False)
        trainer.train()
        weights.append(trainer.model.classifier.weight.detach().clone())
    torch.testing.assert_close(*weights, rtol=1e-4, atol=1e-6)
