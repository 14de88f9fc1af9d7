"""Every model that a user calls, among them those without a `generate()` and those of several, with inputs for it."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from transformers import PreTrainedModel

from common import tiny_captioner, tiny_vqa
from common.factories import FACTORIES, make_tokens
from hf_attention import AttentionEnsembleForConditionalGeneration
from hf_attention.models.modeling_attention_vqa import AttentionVQAForQuestionAnswering


ITEMS = 3
# A model, and what its forward takes besides the decoder's tokens.
Example = tuple[PreTrainedModel, dict[str, torch.Tensor]]


def of_factory(name: str, **settings) -> Example:
    [factory] = [factory for factory in FACTORIES if factory.name == name]
    return factory.make_model(**settings), factory.make_inputs(ITEMS)


def of_pictures(tiny, **settings) -> Example:
    """With a backbone, `settings`' or a ViT's."""
    torch.manual_seed(0)
    model = tiny.make_model(**settings)
    inputs = {"pixel_values": torch.rand(ITEMS, 3, tiny.IMAGE_SIZE, tiny.IMAGE_SIZE)}
    if tiny is tiny_vqa:
        inputs["input_ids"] = torch.randint(4, 12, (ITEMS, 4))
        inputs["attention_mask"] = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]])
    return model, inputs


def of_answers(**settings) -> Example:
    """The head that chooses among known answers."""
    [factory] = [factory for factory in FACTORIES if factory.name == "vqa"]
    torch.manual_seed(0)
    model = AttentionVQAForQuestionAnswering(factory.make_config(num_labels=5, **settings))
    return tiny_captioner.with_odd_weights(model), factory.make_inputs(ITEMS)


def of_several(name: str) -> Example:
    members = [of_factory(name, attention_type=attention)[0] for attention in ("additive", "general")]
    return AttentionEnsembleForConditionalGeneration.from_members(members), of_factory(name)[1]


MODELS: dict[str, Callable[[], Example]] = {
    "captioner": partial(of_factory, "captioner", num_regions=5, coverage=True, context_gate=True),
    "captioner_without_attention": partial(of_factory, "captioner", attention_type=None),
    "captioner_after_rnn": partial(
        of_factory,
        "captioner",
        attention_type="scaled_dot",
        num_attention_heads=2,
        attention_order="after_rnn",
        rnn_type="gru",
    ),
    "captioner_vit": partial(of_pictures, tiny_captioner, box_positions=True),
    "captioner_resnet": partial(of_pictures, tiny_captioner, backbone="resnet", backbone_layers=[1]),
    "seq2seq": partial(of_factory, "seq2seq", attention_order="after_rnn", input_feeding=True),
    "seq2seq_copied": partial(
        of_factory,
        "seq2seq",
        initial_state="copied_states",
        encoder_num_hidden_layers=2,
        num_hidden_layers=2,
        memory_size=8,
    ),
    "seq2seq_deep": partial(of_factory, "seq2seq_deep", num_hidden_layers=2),
    "vqa": partial(of_factory, "vqa"),
    "vqa_vit": partial(of_pictures, tiny_vqa),
    "vqa_stacked": partial(of_answers, attention_form="stacked", joint_size=6),
    "vqa_glimpses": partial(of_answers, attention_form="glimpses"),
    "vqa_bilinear": partial(of_answers, attention_form="bilinear"),
    "vqa_top_down": partial(of_answers, attention_form="top_down"),
    "vqa_without_attention": partial(of_answers, attention_form=None),
    "recurrent_lm": partial(of_factory, "recurrent_lm"),
    "recurrent_lm_deep": partial(of_factory, "recurrent_lm", attention_type=None, num_hidden_layers=2),
    "ensemble": partial(of_several, "seq2seq"),
}


def over_every_model(*names: str) -> pytest.MarkDecorator:
    """A test of each model, or of those that are named: it takes `make_example`."""
    return pytest.mark.parametrize("make_example", [pytest.param(MODELS[name], id=name) for name in names or MODELS])


def forward_inputs(model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What `forward` takes, the decoder's tokens among it."""
    if isinstance(model, AttentionVQAForQuestionAnswering) or not model.config.is_encoder_decoder:
        return inputs
    return {**inputs, "decoder_input_ids": make_tokens(ITEMS, 4)}


@torch.no_grad()
def outputs_of(model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """The logits, and the tokens that a model generates where it does."""
    results = [model(**forward_inputs(model, inputs)).logits]
    if model.can_generate():
        results.append(model.generate(**inputs, max_new_tokens=6, do_sample=False))
    return results
