"""Tiny vision models of many architectures, and the grids that they make."""

from collections.abc import Callable

from transformers import (
    CLIPVisionConfig,
    ConvNextConfig,
    DeiTConfig,
    Dinov2Config,
    Dinov2WithRegistersConfig,
    MobileNetV2Config,
    PreTrainedConfig,
    ResNetConfig,
    SiglipVisionConfig,
    SwinConfig,
    ViTConfig,
)


def transformer(config_class: type[PreTrainedConfig], **kwargs) -> PreTrainedConfig:
    fields = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
    }
    return config_class(**fields | kwargs)


def mobilenet() -> PreTrainedConfig:
    return MobileNetV2Config(image_size=64, depth_multiplier=0.1)


# Configuration, tokens before the grid (None: the output is a feature map), image size, rows, columns, features.
BACKBONES: dict[str, tuple[Callable[[], PreTrainedConfig], int | None, tuple[int, int], int, int, int]] = {
    "mobilenet_v2": (mobilenet, None, (64, 96), 2, 3, 1280),
    "resnet": (
        lambda: ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic"),
        None,
        (32, 48),
        4,
        6,
        12,
    ),
    "convnext": (
        lambda: ConvNextConfig(num_stages=2, hidden_sizes=[8, 12], depths=[1, 1], image_size=32),
        None,
        (32, 48),
        4,
        6,
        12,
    ),
    "vit": (lambda: transformer(ViTConfig, image_size=(32, 48)), 1, (32, 48), 4, 6, 16),
    "deit": (lambda: transformer(DeiTConfig), 2, (32, 32), 4, 4, 16),
    "dinov2": (lambda: transformer(Dinov2Config), 1, (24, 48), 3, 6, 16),
    "dinov2_with_registers": (
        lambda: transformer(Dinov2WithRegistersConfig, num_register_tokens=4),
        5,
        (24, 48),
        3,
        6,
        16,
    ),
    "swin": (
        lambda: SwinConfig(image_size=32, patch_size=2, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=2),
        0,
        (32, 48),
        8,
        12,
        16,
    ),
    "clip_vision_model": (lambda: transformer(CLIPVisionConfig), 1, (32, 32), 4, 4, 16),
    "siglip_vision_model": (lambda: transformer(SiglipVisionConfig), 0, (32, 32), 4, 4, 16),
}
