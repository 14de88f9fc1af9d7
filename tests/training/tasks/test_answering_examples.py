"""Batches of questions about shared images."""

import copy

import pytest
import torch
from accelerate import Accelerator
from common.tiny_vqa import WORDS, make_model, make_processor
from datasets import Dataset
from tokenizers import processors
from torch.testing import assert_close
from transformers import PreTrainedModel

from hf_attention import AttentionVQAForConditionalGeneration, AttentionVQAForQuestionAnswering
from hf_attention.training.data.images import RegionSource
from hf_attention.training.data.sampling import CaptionGroup
from hf_attention.training.data.tokenization import train_tokenizer
from hf_attention.training.tasks.answering.evaluation import AnsweringEvaluator
from hf_attention.training.tasks.answering.examples import (
    AnsweringCollator,
    AnsweringDataset,
    AnsweringObjective,
    answering_dataloader,
    question_batch,
)
from hf_attention.training.tasks.answering.labels import (
    answer_labels,
)
from hf_attention.training.tasks.answering.questions import Questions, mirrored_text


class NoImage:
    def inputs(self, row: int, mirrored: bool, crop: int) -> dict:
        return {}


class Views:
    """A region whose features are the number of the image, whether it is mirrored, and which crop it is."""

    def inputs(self, row: int, mirrored: bool, crop: int) -> dict:
        return {"region_features": torch.tensor([[row, mirrored, crop]])}


def test_images_are_seen_whole_and_in_crops() -> None:
    questions = Questions(Dataset.from_dict({"image": [0, 1]}), [0, 1], ["what", "where"], [["star"], ["left"]])
    dataset = AnsweringDataset(Views(), questions, None, train_tokenizer(["what where star left"]))
    loader = answering_dataloader(dataset, batch_size=2, mirror=True, crops=2)
    seen = set()
    for epoch in range(40):
        loader.batch_sampler.set_epoch(epoch)
        seen |= {tuple(view) for batch in loader for view in batch["region_features"][:, 0].tolist()}
    assert seen == {(row, mirrored, crop) for row in range(2) for mirrored in range(2) for crop in range(3)}


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
        mirrored,
    )
    for is_mirrored, labels in ((False, [0, 2, 3]), (True, [1, -100, 3])):  # "on the left" is no known answer
        example = dataset[CaptionGroup(0, (0, 1, 2), is_mirrored)]
        assert [label.item() for label in example["labels"]] == labels
        first = tokenizer.decode(example["input_ids"][0], skip_special_tokens=True)
        assert first == (mirrored_text(texts[0]) if is_mirrored else texts[0])


def test_answers_to_learn_are_words_and_an_end_whatever_the_tokenizer_adds(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = train_tokenizer(["on the left or right not ?"])
    ids = tokenizer.convert_tokens_to_ids
    questions = Questions(Dataset.from_dict({"image": [0]}), [0, 0], ["or ?", "or ?"], [["on the left"], ["not"]])
    for template in ("$A </s>", "<s> $A", "<s> $A </s>"):
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=template, special_tokens=[("<s>", 2), ("</s>", 3)]
        )
        for is_mirrored, last in ((False, "left"), (True, "right")):
            example = AnsweringDataset(NoImage(), questions, None, tokenizer)[CaptionGroup(0, (0, 1), is_mirrored)]
            assert [label.tolist() for label in example["labels"]] == [
                [*ids(["on", "the", last]), 3],
                [ids("not"), 3],
            ]
            assert example["input_ids"][0] == tokenizer("or ?")["input_ids"]
        short = copy.deepcopy(tokenizer)
        short.model_max_length = 3
        example = AnsweringDataset(NoImage(), questions, None, short)[CaptionGroup(0, (0,), False)]
        assert example["labels"][0].tolist() == [*ids(["on", "the"]), 3]
    assert "1 of 2 answers are longer than `max_length`, 3 tokens: they lose their end" in caplog.text


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
    short = copy.deepcopy(tokenizer)
    short.model_max_length = 4
    batch, places = question_batch(source, questions, rows, short)
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
