"""What the configuration freezes, and that a user's own `requires_grad` stands."""

import copy
from pathlib import Path

import pytest
import torch
from common import tiny_captioner, tiny_vqa
from common.backbones import mobilenet
from torch import nn
from transformers import AutoModel, AutoModelForVisualQuestionAnswering, BertConfig, PreTrainedModel

from hf_attention import (
    AttentionCaptionerConfig,
    AttentionCaptionerForConditionalGeneration,
    AttentionEnsembleForConditionalGeneration,
)


BERT = BertConfig(vocab_size=30, hidden_size=8, intermediate_size=8, num_hidden_layers=2, num_attention_heads=2)


def make_captioner(**settings) -> AttentionCaptionerForConditionalGeneration:
    torch.manual_seed(0)
    return tiny_captioner.make_model(**settings).train()


def make_answerer() -> PreTrainedModel:
    torch.manual_seed(0)
    return tiny_vqa.make_model(question_encoder_config=BERT, freeze_question_encoder=True, words=WORDS).train()


WORDS = [str(number) for number in range(26)]
IMAGES = torch.rand(2, 3, tiny_captioner.IMAGE_SIZE, tiny_captioner.IMAGE_SIZE)
LABELS = torch.tensor([[5, 6, 7], [6, 5, 8]])
PARTS = {
    "backbone": (make_captioner, "model.encoder.backbone"),
    "vqa_backbone": (make_answerer, "model.encoder.image_encoder.backbone"),
    "question_encoder": (make_answerer, "model.encoder.question_encoder.encoder"),
}


def backward(model: PreTrainedModel) -> None:
    """Gradients of what the encoder makes of images, and of questions where there are any."""
    model.zero_grad()
    answers = model.config.model_type == "attention_vqa"
    outputs = model.get_encoder()(pixel_values=IMAGES, **({"input_ids": LABELS} if answers else {}))
    made = outputs.pooler_output if answers else outputs.last_hidden_state
    (made * torch.randn_like(made)).sum().backward()


def trained(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("name", PARTS)
def test_a_part_starts_frozen_and_what_the_user_unfreezes_trains(name: str) -> None:
    make_model, path = PARTS[name]
    model = make_model()
    part = model.get_submodule(path)
    assert not trained(part) and not part.training
    layers = {name: module for name, module in part.named_modules() if isinstance(module, nn.Linear)}
    last = [module for name, module in layers.items() if "pooler" not in name][-1]
    for chosen in (last, part):
        chosen.requires_grad_(True)
        expected = trained(model)
        for mode in (True, False, True):
            model.train(mode)
            assert trained(model) == expected and part.training == mode
        backward(model)
        has_gradient = {name for name, parameter in part.named_parameters() if parameter.grad is not None}
        # Nothing asks for what a pooler makes.
        assert has_gradient == {name for name in trained(part) if "pooler" not in name}
    part.requires_grad_(False)
    assert not model.train().get_submodule(path).training


def test_gradients_are_those_of_a_model_that_was_never_frozen() -> None:
    images = [IMAGES.clone().requires_grad_(True) for _ in range(2)]
    models = [make_captioner(freeze_backbone=frozen) for frozen in (True, False)]
    models[0].get_encoder().backbone.requires_grad_(True)
    for model, pixel_values in zip(models, images, strict=True):
        model.train()(pixel_values=pixel_values, labels=LABELS).loss.backward()
    for (name, mine), other in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        assert (mine.grad is None) == (other.grad is None), name
        assert mine.grad is None or torch.equal(mine.grad, other.grad), name
    assert torch.equal(images[0].grad, images[1].grad)


@pytest.mark.parametrize("kind", ["captioner", "answerer", "ensemble"])
def test_a_loaded_model_starts_as_its_configuration_says(kind: str, tmp_path: Path) -> None:
    if kind == "answerer":
        model = make_answerer()
    else:
        model = make_captioner()
        model.get_encoder().backbone.requires_grad_(True)
    if kind == "ensemble":
        model = AttentionEnsembleForConditionalGeneration.from_members([model, make_captioner()])
    model.save_pretrained(tmp_path)
    loaded, info = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    frozen = ("backbone.", "question_encoder.encoder.")
    every = {name for name, _ in model.named_parameters()}
    assert trained(loaded) == {name for name in every if not any(part in name for part in frozen)}
    if kind == "answerer":
        auto = AutoModelForVisualQuestionAnswering.from_pretrained(tmp_path, freeze_question_encoder=False)
        assert trained(auto) == {name for name in every if "backbone." not in name}
        assert not any(part in name for name in trained(AutoModel.from_pretrained(tmp_path)) for part in frozen)


def test_what_was_unfrozen_stays_so_in_a_copy() -> None:
    model = make_captioner()
    model.get_encoder().backbone.requires_grad_(True)
    assert trained(copy.deepcopy(model).train()) == trained(model)


def test_batch_norms_follow_their_own_parameters() -> None:
    config = AttentionCaptionerConfig(backbone_config=mobilenet(), vocab_size=20, hidden_size=8, embedding_size=8)
    model = AttentionCaptionerForConditionalGeneration(config)
    backbone = model.get_encoder().backbone
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    last = [module for module in backbone.modules() if isinstance(module, nn.Conv2d)][-1]
    last.requires_grad_(True)
    model.train()
    assert last.training and not any(norm.training for norm in norms)
    norms[-1].requires_grad_(True)
    model.train()
    assert [norm.training for norm in norms] == [False] * (len(norms) - 1) + [True]
    before = [norm.running_mean.clone() for norm in norms]
    model.get_encoder()(pixel_values=torch.randn(2, 3, 64, 64))
    kept = [torch.equal(norm.running_mean, mean) for norm, mean in zip(norms, before, strict=True)]
    assert kept == [True] * (len(norms) - 1) + [False]
    model.config.freeze_batch_norms = True
    assert not any(norm.training for norm in norms if model.train())
