"""Captioners with random weights: this package's, and those of transformers in the sizes that people use."""

import torch
from transformers import (
    BlipConfig,
    BlipForConditionalGeneration,
    GPT2Config,
    GPT2LMHeadModel,
    MobileNetV2Config,
    PreTrainedModel,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTModel,
)

from hf_attention import AttentionCaptionerConfig, AttentionCaptionerForConditionalGeneration


def make_ours(vocabulary: int, quick: bool) -> PreTrainedModel:
    """MobileNetV2 over 288 pixels, and the decoder of the recipe."""
    sizes = {"hidden_size": 12, "embedding_size": 8, "attention_size": 8} if quick else {}
    backbone = MobileNetV2Config(image_size=32 if quick else 288, depth_multiplier=0.1 if quick else 1.0)
    config = AttentionCaptionerConfig(backbone_config=backbone, vocab_size=vocabulary, context_gate=True, **sizes)
    return AttentionCaptionerForConditionalGeneration(config)


def make_blip(quick: bool) -> PreTrainedModel:
    """BLIP-base: the configuration's defaults."""
    if not quick:
        config = BlipConfig()
    else:
        sizes = {"hidden_size": 12, "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2}
        ids = {"vocab_size": 60, "bos_token_id": 1, "eos_token_id": 2, "sep_token_id": 2, "pad_token_id": 0}
        config = BlipConfig(
            text_config={**sizes, **ids, "encoder_hidden_size": 12},
            vision_config={**sizes, "image_size": 32, "patch_size": 16},
        )
    return BlipForConditionalGeneration(config)


def make_vit_gpt2(quick: bool) -> PreTrainedModel:
    """ViT-base and GPT-2: the configurations' defaults."""
    vision, text = {}, {"bos_token_id": 50256, "eos_token_id": 50256}
    if quick:
        vision = {"hidden_size": 12, "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2}
        vision |= {"image_size": 32, "patch_size": 16}
        text = {"n_embd": 12, "n_layer": 1, "n_head": 2, "vocab_size": 60, "bos_token_id": 1, "eos_token_id": 1}
    decoder = GPT2LMHeadModel(GPT2Config(add_cross_attention=True, is_decoder=True, **text))
    encoder = ViTModel(ViTConfig(**vision), add_pooling_layer=False)
    model = VisionEncoderDecoderModel(encoder=encoder, decoder=decoder)
    start = text["bos_token_id"]
    model.generation_config.update(decoder_start_token_id=start, pad_token_id=start, eos_token_id=start)
    return model


def pixels_for(model: PreTrainedModel, batch: int) -> torch.Tensor:
    """Random images of the size that a captioner of this module is for, where it lies and in its dtype."""
    config = getattr(model.config, "vision_config", getattr(model.config, "encoder", None))
    side = config.image_size if config is not None else model.config.backbone_config.image_size
    return torch.randn(batch, 3, side, side).to(model.device, model.dtype)
