"""The grids that vision models make of an image, told without weights, and those that make none."""

import pytest
import torch
from common.backbones import BACKBONES, transformer
from transformers import (
    BertConfig,
    CLIPConfig,
    PreTrainedConfig,
    Sam2HieraDetConfig,
    Siglip2VisionConfig,
    ViTMAEConfig,
)

from hf_attention import AttentionCaptionerConfig, ImageEncoder
from hf_attention.models.backbones import infer_region_shape


@pytest.mark.parametrize("name", BACKBONES)
def test_region_shape_is_inferred_without_weights(name: str) -> None:
    make_config, _, _, _, _, channels = BACKBONES[name]
    config = make_config()
    size = getattr(config, "image_size", None) or 224
    size = (size, size) if isinstance(size, int) else size
    encoder = ImageEncoder(AttentionCaptionerConfig(backbone_config=config))
    expected = encoder.extract_regions(torch.zeros(1, 3, *size)).shape[1:]
    assert infer_region_shape(config) == tuple(expected)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16), "input_ids"),
        (CLIPConfig(), "vision_config"),
        (transformer(ViTMAEConfig), "5 tokens .* 4x4"),
        (transformer(Siglip2VisionConfig), "spatial_shapes"),
        (
            Sam2HieraDetConfig(
                hidden_size=8,
                num_attention_heads=1,
                image_size=[64, 64],
                window_positional_embedding_background_size=[2, 2],
                blocks_per_stage=[1, 2],
                embed_dim_per_stage=[8, 16],
                num_attention_heads_per_stage=[1, 2],
                window_size_per_stage=[4, 4],
                global_attention_blocks=[2],
                num_query_pool_stages=1,
            ),
            "channels come last",
        ),
    ],
    ids=lambda value: getattr(value, "model_type", ""),
)
@pytest.mark.filterwarnings("ignore")
def test_a_backbone_without_a_grid_is_named(config: PreTrainedConfig, reason: str) -> None:
    with pytest.raises(ValueError, match=f"(?s)'{config.model_type}'.*{reason}"):
        ImageEncoder(AttentionCaptionerConfig(backbone_config=config))
