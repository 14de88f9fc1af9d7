"""Every kind of model, with its parts, and what a training step gives it."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn
from transformers import BertConfig, PreTrainedModel

from common import tiny_captioner, tiny_vqa
from common.factories import FACTORIES, ModelFactory, make_questions, make_tokens
from hf_attention import AttentionVQAForConditionalGeneration


ITEMS = 4
BERT = BertConfig(
    vocab_size=30, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12, num_labels=2
)
Step = tuple[PreTrainedModel, dict[str, torch.Tensor]]


def of_factory(factory: ModelFactory, **settings) -> Step:
    inputs = factory.make_inputs(ITEMS)
    inputs["labels"] = make_tokens(ITEMS, 4) if factory.has_encoder else inputs["input_ids"]
    return factory.make_model(**settings), inputs


def of_pictures(**settings) -> Step:
    """A captioner with a backbone that is trained."""
    model = tiny_captioner.make_model(freeze_backbone=False, doubly_stochastic_penalty=1.0, **settings)
    return model, {"pixel_values": pictures(), "labels": make_tokens(ITEMS, 4)}


def of_questions(form: str | None) -> Step:
    inputs = make_questions(ITEMS)
    model = tiny_vqa.make_model(backbone=None, region_size=9, attention_form=form)
    return model, {**inputs, "labels": torch.rand(ITEMS, len(tiny_vqa.ANSWERS))}


def of_questions_about_pictures(generating: bool) -> Step:
    """With a pretrained question encoder, and a backbone that is trained."""
    inputs = make_questions(ITEMS)
    inputs = {name: inputs[name] for name in ("input_ids", "attention_mask")} | {"pixel_values": pictures()}
    settings = {"freeze_backbone": False, "question_encoder_config": BERT, "words": [str(i) for i in range(26)]}
    if generating:
        model = tiny_vqa.make_model(AttentionVQAForConditionalGeneration, **settings)
        return model, {**inputs, "labels": make_tokens(ITEMS, 4)}
    return tiny_vqa.make_model(**settings), {**inputs, "labels": torch.rand(ITEMS, len(tiny_vqa.ANSWERS))}


def pictures() -> torch.Tensor:
    size = tiny_captioner.IMAGE_SIZE
    return torch.rand(ITEMS, 3, size, size, generator=torch.Generator().manual_seed(3))


PENALISED = {"doubly_stochastic_penalty": 1.0}
STEPS: dict[str, Callable[[], Step]] = {
    **{factory.name: partial(of_factory, factory) for factory in FACTORIES},
    **{
        f"{factory.name}_penalised": partial(of_factory, factory, **PENALISED)
        for factory in FACTORIES
        if factory.has_encoder
    },
    "recurrent_lm_without_attention": partial(of_factory, FACTORIES[-1], attention_type=None),
    "show_and_tell": partial(of_factory, FACTORIES[0], attention_type=None),
    "captioner_vit": partial(of_pictures, num_regions=16, box_positions=True),
    "captioner_resnet": partial(of_pictures, backbone="resnet", backbone_layers=[0, 1]),
    "captioner_mobilenet": partial(of_pictures, backbone="mobilenet_v2"),
    **{f"vqa_{form}": partial(of_questions, form) for form in ("stacked", "glimpses", "bilinear", "top_down", None)},
    "vqa_bert": partial(of_questions_about_pictures, generating=False),
    "vqa_bert_generating": partial(of_questions_about_pictures, generating=True),
}
over_steps = pytest.mark.parametrize("make_step", STEPS.values(), ids=STEPS)


def without_dropout(model: nn.Module) -> nn.Module:
    """In training mode, and yet the same at every step; batch norms keep their statistics."""
    for module in model.train().modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(module, nn.RNNBase):
            module.dropout = 0.0
    return model
