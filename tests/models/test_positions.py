"""How many tokens a model says that it reads, beside what it does read."""

import pytest
import torch
from transformers import (
    AutoModel,
    BertConfig,
    CamembertConfig,
    EncoderDecoderConfig,
    EncoderDecoderModel,
    MPNetConfig,
    PreTrainedConfig,
    RobertaConfig,
    RobertaModel,
)

from hf_attention.models.positions import question_positions, source_positions


SIZES = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 20}


def read(model: torch.nn.Module, length: int) -> None:
    model(torch.full((1, length), 7), attention_mask=torch.ones(1, length, dtype=torch.long))


@pytest.mark.parametrize("config_class", [BertConfig, RobertaConfig, CamembertConfig, MPNetConfig])
def test_questions(config_class: type[PreTrainedConfig]) -> None:
    config = config_class(max_position_embeddings=12, pad_token_id=1, **SIZES)
    model, limit = AutoModel.from_config(config).eval(), question_positions(config)
    read(model, limit)
    with pytest.raises((IndexError, RuntimeError)):
        read(model, limit + 1)


@pytest.mark.parametrize("config_class", [BertConfig, RobertaConfig])
def test_sources_of_an_encoder_and_a_decoder(config_class: type[PreTrainedConfig]) -> None:
    parts = [config_class(max_position_embeddings=12, pad_token_id=1, **SIZES) for _ in range(2)]
    model = EncoderDecoderModel(EncoderDecoderConfig.from_encoder_decoder_configs(*parts)).eval()
    limit = source_positions(model)
    read(model.encoder, limit)
    with pytest.raises((IndexError, RuntimeError)):
        read(model.encoder, limit + 1)
    assert source_positions(RobertaModel(parts[0])) is None
