"""The parts that transformers asks a model for: encoders, tables, what is tied, which attention a backbone takes."""

from pathlib import Path

import pytest
import torch
from common import tiny_captioner, tiny_text_models, tiny_vqa
from common.every_model import MODELS, over_every_model
from common.factories import ModelFactory, over_models
from torch import nn
from torch.testing import assert_close
from transformers import BertConfig, PreTrainedModel
from transformers.utils.generic import ModelOutput

from hf_attention import AttentionSeq2SeqConfig, AttentionSeq2SeqForConditionalGeneration, AttentionSeq2SeqModel
from hf_attention.models.image_encoder import ImageEncoder
from hf_attention.models.modeling_attention_vqa import (
    AttentionVQAForConditionalGeneration,
    AttentionVQAForQuestionAnswering,
)


SIZES = {"vocab_size": 13, "embedding_size": 6, "hidden_size": 8, "attention_size": 5, "encoder_hidden_size": 4}
over_models_of_images = over_every_model("captioner_vit", "vqa_vit", "vqa_stacked")
over_models_of_text = pytest.mark.parametrize("name", ["seq2seq", "recurrent_lm"])


@pytest.mark.parametrize("modality", ["image", "video", "audio"])
@over_models_of_text
def test_a_model_of_text_has_no_other_encoder(name: str, modality: str) -> None:
    """As Bart, it gives itself: by that exporters know."""
    bart = tiny_text_models.make_bart()
    assert bart.get_encoder(modality) is bart and bart.model.get_encoder(modality) is bart.model
    model, _ = MODELS[name]()
    assert model.get_encoder(modality) is model and model.model.get_encoder(modality) is model.model


@over_models_of_images
def test_the_encoder_of_images(make_example) -> None:
    model, inputs = make_example()
    for part in (model, model.model):
        assert isinstance(part.get_encoder("image"), ImageEncoder)
        assert part.get_encoder("audio") is part
        names = {"input_ids", "attention_mask"}
        assert isinstance(part.get_encoder()(**inputs), ModelOutput)
        regions = part.get_encoder("image")(**{k: v for k, v in inputs.items() if k not in names})
        assert regions.last_hidden_state.ndim == 3


@over_models
def test_no_encoder_is_made_up(factory: ModelFactory) -> None:
    with pytest.raises(ValueError, match="smell"):
        factory.make_model().get_encoder("smell")


@pytest.mark.parametrize("shared", [False, True])
def test_inputs_embeds_are_of_the_table_that_is_given(shared: bool) -> None:
    """Equal sizes, so that the other table would do as well, and be wrong."""
    model = AttentionSeq2SeqForConditionalGeneration(
        AttentionSeq2SeqConfig(**SIZES, share_encoder_decoder_embeddings=shared)
    ).eval()
    source, target = torch.tensor([[4, 7, 5, 3]]), torch.tensor([[2, 9, 6]])
    expected = model(source, decoder_input_ids=target).logits
    given = {
        "inputs_embeds": model.get_input_embeddings()(source),
        "decoder_inputs_embeds": model.get_decoder().embed_tokens(target),
    }
    assert_close(model(**given).logits, expected)
    # A new table is the one that is read.
    new = nn.Embedding(13, 6)
    model.set_input_embeddings(new)
    assert model.get_input_embeddings() is new
    assert (model.get_decoder().embed_tokens is new) == shared
    given = {"inputs_embeds": new(source), "decoder_inputs_embeds": model.get_decoder().embed_tokens(target)}
    assert_close(model(**given).logits, model(source, decoder_input_ids=target).logits)


@pytest.mark.parametrize("vocabularies", [{}, {"share_encoder_decoder_embeddings": True}, {"source_vocab_size": 15}])
def test_a_frozen_table_is_frozen_when_it_is_resized(vocabularies: dict) -> None:
    model = AttentionSeq2SeqForConditionalGeneration(AttentionSeq2SeqConfig(**SIZES, **vocabularies))
    for table in (model.get_input_embeddings(), model.get_decoder().embed_tokens, model.lm_head):
        table.requires_grad_(False)
    model.resize_token_embeddings(20)
    if "source_vocab_size" in vocabularies:
        model.resize_source_token_embeddings(20)
    for table in (model.get_input_embeddings(), model.get_decoder().embed_tokens, model.lm_head):
        assert table.weight.shape[0] == 20 and not table.weight.requires_grad


@pytest.mark.parametrize("pad_to_multiple_of", [None, 8])
@over_models
def test_every_table_is_resized(factory: ModelFactory, pad_to_multiple_of: int | None) -> None:
    model = factory.make_model()
    model.resize_token_embeddings(15, pad_to_multiple_of=pad_to_multiple_of)
    size = 15 if pad_to_multiple_of is None else 16
    assert model.config.vocab_size == model.lm_head.out_features == size
    tables = [part for name, part in model.named_modules() if name.endswith("embed_tokens")]
    source = model.config.source_vocab_size if factory.name.startswith("seq2seq") else None
    assert {table.num_embeddings for table in tables} == {size, source or size}


@pytest.mark.parametrize("model_class", [AttentionVQAForQuestionAnswering, AttentionVQAForConditionalGeneration])
@torch.no_grad()
def test_the_table_of_a_pretrained_text_encoder(model_class: type, tmp_path: Path) -> None:
    sizes = {"backbone": None, "region_size": 9, "words": [str(number) for number in range(26)]}
    model = tiny_vqa.make_model(model_class, question_encoder_config=make_bert(), **sizes)
    inputs = {"input_ids": torch.tensor([[5, 6, 7]]), "region_features": torch.rand(1, 4, 9)}
    new = nn.Embedding(30, 8)
    model.set_input_embeddings(new)
    encoder = model.get_encoder().question_encoder
    assert encoder.encoder.get_input_embeddings() is model.get_input_embeddings() is new
    read = encoder(inputs["input_ids"])[0]
    new.weight[5, 0] += 1.0
    assert not torch.allclose(encoder(inputs["input_ids"])[0], read)
    model.resize_token_embeddings(35)
    model.save_pretrained(tmp_path)
    loaded, info = model_class.from_pretrained(tmp_path, output_loading_info=True)
    assert loaded.config.question_encoder_config.vocab_size == loaded.get_input_embeddings().num_embeddings == 35
    assert not info["missing_keys"] and not info["unexpected_keys"]
    inputs["input_ids"][0, 1] = 34
    assert_close(loaded.get_encoder()(**inputs).last_hidden_state, model.get_encoder()(**inputs).last_hidden_state)


@pytest.mark.parametrize("shared", [False, True])
def test_only_what_is_tied_is_listed(shared: bool) -> None:
    config = AttentionSeq2SeqConfig(**SIZES, tie_word_embeddings=True, share_encoder_decoder_embeddings=shared)
    for model_class in (AttentionSeq2SeqModel, AttentionSeq2SeqForConditionalGeneration):
        model = model_class(config)
        weights = dict(model.named_parameters(remove_duplicate=False))
        for prefix, part in model.named_modules():
            for target, source in (getattr(part, "_tied_weights_keys", None) or {}).items():
                target, source = (f"{prefix}.{name}" if prefix else name for name in (target, source))
                assert weights[target] is weights[source]
    assert bool(AttentionSeq2SeqModel(config)._tied_weights_keys) == shared


def make_bert() -> BertConfig:
    return BertConfig(vocab_size=30, hidden_size=8, intermediate_size=8, num_hidden_layers=2, num_attention_heads=2)


def make_of_images(tiny, backbone: str | None) -> PreTrainedModel:
    settings = {"region_size": 9} if backbone is None else {}
    if tiny is tiny_vqa:
        settings["model_class"] = AttentionVQAForConditionalGeneration
    return tiny.make_model(backbone=backbone, **settings)


@pytest.mark.parametrize("tiny", [tiny_captioner, tiny_vqa], ids=["captioner", "vqa"])
def test_the_backbone_says_which_attention_it_takes(tiny, tmp_path: Path) -> None:
    for backbone, takes in (("vit", True), ("resnet", False), (None, False)):
        model = make_of_images(tiny, backbone)
        model.save_pretrained(tmp_path)
        load = type(model).from_pretrained
        if backbone is not None:
            default = load(tmp_path).get_encoder("image").backbone.config._attn_implementation
            assert default == ("sdpa" if takes else "eager")
            eager = load(tmp_path, attn_implementation="eager").get_encoder("image").backbone
            assert eager.config._attn_implementation == "eager"
        if takes:
            loaded = load(tmp_path, attn_implementation="sdpa").get_encoder("image").backbone
            assert loaded.config._attn_implementation == "sdpa"
        else:
            with pytest.raises(ValueError, match="scaled_dot_product_attention"):
                load(tmp_path, attn_implementation="sdpa")
