"""Which sizes of images backbones take: what is refused would go wrong, and what goes well is not refused."""

import pytest
import torch
from common.backbones import BACKBONES, transformer
from torch import nn
from torch.nn import functional as F
from transformers import (
    AutoModel,
    BeitConfig,
    CLIPVisionConfig,
    ConvNextConfig,
    DeiTConfig,
    EfficientNetConfig,
    HieraConfig,
    PreTrainedConfig,
    SiglipVisionConfig,
    SwinConfig,
    Swinv2Config,
    ViTConfig,
)

from hf_attention import AttentionCaptionerConfig, ImageEncoder
from hf_attention.models.image_sizes import check_image_size, check_padding


def efficientnet(**kwargs) -> PreTrainedConfig:
    """Five halvings, as the large ones have."""
    stages = {"in_channels": [8] * 4, "out_channels": [8] * 4, "kernel_sizes": [3, 5, 3, 5], "strides": [2] * 4}
    stages |= {"num_block_repeats": [1, 2, 1, 1], "expand_ratios": [1, 2, 2, 2], "depth_coefficient": 1.0}
    fields = {"width_coefficient": 0.25, "hidden_dim": 320, "drop_connect_rate": 0.0, "image_size": 64}
    fields |= {"batch_norm_eps": 1e-20}  # so that small features do not vanish
    return EfficientNetConfig(**stages | fields | kwargs)


def is_taken(config: PreTrainedConfig, *image_size: int) -> bool:
    try:
        check_image_size("image_size", config, image_size)
    except ValueError:
        return False
    return True


class SamePadding(nn.Module):
    """TensorFlow's, in which EfficientNets were trained: as many pixels as are needed, one more behind than before."""

    def __init__(self, kernel: int):
        super().__init__()
        self.kernel = kernel

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = ((-(-pixels // 2) - 1) * 2 + self.kernel - pixels for pixels in x.shape[-2:])
        return F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))


@pytest.mark.parametrize("padding", [[], [4], [1, 4], [3]])
def test_efficientnet_takes_the_sizes_at_which_its_padding_is_right(padding: list[int]) -> None:
    config = efficientnet(depthwise_padding=padding)
    torch.manual_seed(0)
    backbone = AutoModel.from_config(config).double()
    right = AutoModel.from_config(config).double().eval()
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        backbone.train()(torch.rand(4, 3, 64, 64, dtype=torch.float64))  # their statistics
    right.load_state_dict(backbone.eval().state_dict())
    right.embeddings.padding = SamePadding(3)
    for block in right.encoder.blocks:
        if block.depthwise_conv.stride == 2:
            block.depthwise_conv.depthwise_conv_pad = SamePadding(block.depthwise_conv.depthwise_conv.kernel_size[0])
    found = []
    for pixels in range(40, 76):
        pixel_values = torch.rand(1, 3, pixels, pixels, dtype=torch.float64)
        with torch.no_grad():
            expected, actual = right(pixel_values).last_hidden_state, backbone(pixel_values).last_hidden_state
        is_right = expected.shape == actual.shape and torch.allclose(expected, actual, rtol=1e-6, atol=1e-9)
        assert expected.std() > 1e-3
        try:
            check_padding("image_size", config, (pixels, pixels))
        except ValueError:
            assert not is_right, pixels
        else:
            assert is_right, pixels
        if is_right:
            found.append(pixels)
    assert len(found) in (1, 2) and found[-1] - found[0] in (0, 32)


@pytest.mark.parametrize(
    ("depth", "image_size", "padding"),
    [
        (1.0, 224, []),
        (1.1, 240, [16]),
        (1.2, 260, [5, 8, 16]),
        (1.4, 300, [5, 18]),
        (1.8, 380, [6]),
        (2.2, 456, [13, 27]),
        (2.6, 528, [31]),
        (3.1, 600, [18]),
    ],
)
def test_published_efficientnets_take_the_size_that_they_were_trained_with(
    depth: float, image_size: int, padding: list[int]
) -> None:
    fields = {"depth_coefficient": depth, "image_size": image_size, "depthwise_padding": padding}
    config = EfficientNetConfig(width_coefficient=0.25, hidden_dim=320, **fields)
    near = []
    for pixels in range(image_size - 40, image_size + 41):
        try:
            check_padding("image_size", config, (pixels, pixels))
        except ValueError:
            continue
        near.append(pixels)
    assert near == [image_size - 32, image_size, image_size + 32]


@pytest.mark.parametrize(
    ("size", "nearest"),
    [((300, 300), "288x288 and 320x320"), ((300, 64), "288x64 and 320x64"), ((20, 20), "32x32")],
    ids=str,
)
def test_the_nearest_sizes_are_named(size: tuple[int, int], nearest: str) -> None:
    encoder = ImageEncoder(AttentionCaptionerConfig(backbone_config=efficientnet(), memory_size=6)).eval()
    message = f"must be a size that .* 'efficientnet' takes, got {size[0]}x{size[1]} pixels .*{nearest}"
    with pytest.raises(ValueError, match=f"`pixel_values` {message}\\.$"):
        encoder(pixel_values=torch.zeros(1, 3, *size))
    with pytest.raises(ValueError, match=f"`image_size` {message}\\.$"):
        check_image_size("image_size", efficientnet(), size)


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("size", [(8, 8), (32, 32), (32, 48), (50, 33)], ids=str)
def test_what_works_is_not_refused(name: str, size: tuple[int, int]) -> None:
    make_config, prefix, _, _, _, _ = BACKBONES[name]
    config = make_config()
    encoder = ImageEncoder(AttentionCaptionerConfig(backbone_config=config, memory_size=6)).eval()
    try:
        features = encoder.backbone(pixel_values=torch.zeros(1, 3, *size)).last_hidden_state
    except (RuntimeError, ValueError):
        assert not is_taken(config, *size)
        with pytest.raises(ValueError, match=f"`pixel_values` must be .*, got {size[0]}x{size[1]} pixels"):
            encoder.extract_regions(torch.zeros(1, 3, *size))
    else:
        regions = encoder.extract_regions(torch.zeros(1, 3, *size)).shape[1]
        # One patch has been added to each of SigLIP's positions.
        is_right = prefix is None or features.shape[1] == prefix + regions
        assert is_taken(config, *size) == is_right
        assert is_right or (name, size) == ("siglip_vision_model", (8, 8))


@pytest.mark.parametrize(
    ("config", "size", "message"),
    [
        (transformer(ViTConfig), 224, "'vit' takes, got 224x224 pixels (height x width): nearest to it is 32x32."),
        (transformer(ViTConfig), 40, "nearest to it is 32x32."),
        (transformer(ViTConfig, image_size=(32, 48)), 32, "nearest to it is 32x48."),
        (transformer(DeiTConfig), 33, "'deit' takes, got 33x33 pixels (height x width): nearest to it is 32x32."),
        (transformer(CLIPVisionConfig), 64, "nearest to it is 32x32."),
        (transformer(SiglipVisionConfig), 48, "nearest to it is 39x39."),
        (ConvNextConfig(hidden_sizes=[8] * 4, depths=[1] * 4), 20, "nearest to it is 32x32."),
    ],
    ids=lambda value: getattr(value, "model_type", ""),
)
def test_other_backbones(config: PreTrainedConfig, size: int, message: str) -> None:
    with pytest.raises(ValueError) as error:
        check_image_size("image_size", config, (size, size))
    assert str(error.value).startswith("`image_size` must be") and str(error.value).endswith(message)


@pytest.mark.parametrize(
    "config",
    [
        transformer(BeitConfig),
        ConvNextConfig(hidden_sizes=[8] * 4, depths=[1] * 4),
        Swinv2Config(embed_dim=8, depths=[1] * 4, num_heads=[1] * 4),
    ],
    ids=lambda config: config.model_type,
)
def test_sizes_between_are_taken(config: PreTrainedConfig) -> None:
    """These interpolate their positions, leave out a rest of an edge, or pad."""
    for pixels in (32, 63, 100):
        assert is_taken(config, pixels, pixels) and is_taken(config, pixels, 64), pixels


@pytest.mark.slow
def test_swin_sees_no_image_that_is_smaller_than_its_windows() -> None:
    """One would leave it with smaller windows, of which it knows no positions, for good."""
    config = SwinConfig(embed_dim=8, depths=[1] * 4, num_heads=[1] * 4)  # 7x7, on a grid of a 32nd of the pixels
    assert [pixels for pixels in (190, 192, 193, 200, 224, 230) if is_taken(config, pixels, 224)] == [
        193,
        200,
        224,
        230,
    ]
    encoder = ImageEncoder(AttentionCaptionerConfig(backbone_config=config, memory_size=6)).eval()
    pixel_values = torch.rand(1, 3, 224, 224)
    before = encoder.extract_regions(pixel_values)
    with pytest.raises(ValueError, match="`pixel_values` must .* 'swin' takes, got 190x190 .* is 193x193"):
        encoder.extract_regions(torch.rand(1, 3, 190, 190))
    assert torch.equal(encoder.extract_regions(pixel_values), before)
    assert encoder.extract_regions(torch.rand(1, 3, 200, 260)).shape[1] == 7 * 9


def test_the_patches_of_hiera_overlap() -> None:
    config = HieraConfig(image_size=[128, 128], embed_dim=8, depths=[1] * 4, num_heads=[1] * 4)
    encoder = ImageEncoder(AttentionCaptionerConfig(backbone_config=config, memory_size=6)).eval()
    pixel_values = torch.rand(1, 3, 128, 128)
    regions = encoder.extract_regions(pixel_values)
    assert torch.equal(regions, encoder.backbone(pixel_values).last_hidden_state) and regions.shape[1] == 16
    with pytest.raises(ValueError, match="`pixel_values` must .*'hiera' takes, got 224x224 .* is 128x128"):
        encoder.extract_regions(torch.rand(1, 3, 224, 224))


def test_other_errors_are_told_as_they_are() -> None:
    encoder = ImageEncoder(AttentionCaptionerConfig(backbone_config=efficientnet(), memory_size=6)).eval()
    with pytest.raises(RuntimeError, match="channels"):
        encoder.extract_regions(torch.zeros(1, 5, 64, 64))
