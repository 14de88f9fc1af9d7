"""The image encoder: which regions it makes of an image, in which order, and what of it is trained."""

from pathlib import Path

import pytest
import torch
from common.backbones import BACKBONES, mobilenet, transformer
from torch import nn
from transformers import (
    AutoModel,
    BertConfig,
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    Dinov2Config,
    PreTrainedConfig,
    ResNetConfig,
    SwinConfig,
    ViTConfig,
)

from hf_attention import AttentionCaptionerConfig, AttentionCaptionerForConditionalGeneration, ImageEncoder


CAPTIONER = {"vocab_size": 20, "hidden_size": 8, "embedding_size": 8, "memory_size": 8, "attention_size": 8}


def make_encoder(backbone_config: PreTrainedConfig | None, **kwargs) -> ImageEncoder:
    return ImageEncoder(AttentionCaptionerConfig(backbone_config=backbone_config, memory_size=6, **kwargs))


def calibrate(backbone: nn.Module, pixel_values: torch.Tensor) -> None:
    """Sets batch norms to the statistics of these images; as they are made, a deep network's features vanish."""
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        backbone.train()(pixel_values)
    backbone.eval()


@pytest.mark.parametrize("name", BACKBONES)
def test_regions_are_the_grid_row_by_row(name: str) -> None:
    make_config, prefix, size, rows, columns, channels = BACKBONES[name]
    encoder = make_encoder(make_config()).double().eval()  # the order of sums may differ
    pixel_values = torch.randn(2, 3, *size, dtype=torch.float64)
    calibrate(encoder.backbone, pixel_values)
    regions = encoder.extract_regions(pixel_values)
    assert regions.shape == (2, rows * columns, channels)
    assert encoder.config.region_size == channels

    assert regions.std() > 0.01
    output = encoder.backbone(pixel_values).last_hidden_state
    for row in range(rows):
        for column in range(columns):
            place = row * columns + column
            expected = output[:, :, row, column] if prefix is None else output[:, prefix + place]
            torch.testing.assert_close(regions[:, place], expected)


@pytest.mark.parametrize("name", [name for name in BACKBONES if name != "swin"])
def test_a_region_has_the_features_of_earlier_layers_there(name: str) -> None:
    make_config, prefix, size, rows, columns, channels = BACKBONES[name]
    encoder = make_encoder(make_config(), backbone_layers=[1, -2]).double().eval()
    pixel_values = torch.randn(2, 3, *size, dtype=torch.float64)
    calibrate(encoder.backbone, pixel_values)
    outputs = encoder.backbone(pixel_values, output_hidden_states=True)
    regions = encoder.extract_regions(pixel_values)
    assert regions.shape == (2, rows * columns, encoder.config.region_size)

    first = channels
    last_map = outputs.last_hidden_state
    last_map = last_map.flatten(2).transpose(1, 2) if prefix is None else last_map[:, prefix:]
    torch.testing.assert_close(regions[..., :first], last_map)
    for layer in (1, -2):
        states = outputs.hidden_states[layer]
        if prefix is not None:  # as many tokens in every layer
            states = states[:, prefix:].transpose(1, 2).unflatten(2, (rows, columns))
        height, width = states.shape[2] // rows, states.shape[3] // columns
        last = first + states.shape[1]
        for row in range(rows):
            for column in range(columns):
                cell = states[:, :, row * height : (row + 1) * height, column * width : (column + 1) * width]
                mean = cell.sum((2, 3)) / (height * width)
                centred = mean - mean.mean(-1, keepdim=True)
                expected = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
                torch.testing.assert_close(regions[:, row * columns + column, first:last], expected)
        first = last
    assert first == regions.shape[-1]


@pytest.mark.parametrize("name", [name for name, (_, prefix, *_) in BACKBONES.items() if prefix is not None])
def test_a_region_looks_at_its_place_of_the_image(name: str) -> None:
    make_config, _, (height, width), rows, columns, _ = BACKBONES[name]
    encoder = make_encoder(make_config()).eval()
    pixel_values = torch.randn(1, 3, height, width)
    regions = encoder.extract_regions(pixel_values)
    row, column = rows - 2, columns - 1
    other = pixel_values.clone()
    other[
        :,
        :,
        row * height // rows : (row + 1) * height // rows,
        column * width // columns : (column + 1) * width // columns,
    ] += 3.0
    change = (encoder.extract_regions(other) - regions).norm(dim=-1)
    assert change.argmax() == row * columns + column, change.view(rows, columns)


def test_swin_pads_an_image_that_does_not_divide() -> None:
    config = SwinConfig(image_size=32, patch_size=2, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=2)
    # 27 and 38 pixels: 14 and 19 patches, 7 and 10 merged ones.
    assert make_encoder(config).extract_regions(torch.randn(1, 3, 27, 38)).shape == (1, 70, 16)


def test_earlier_layers_of_a_size_that_does_not_divide() -> None:
    config = ResNetConfig(embedding_size=4, hidden_sizes=[4, 6], depths=[1, 1], layer_type="basic")
    encoder = make_encoder(config, backbone_layers=[1]).eval()
    pixel_values = torch.randn(1, 3, 18, 26)  # 5 x 7 cells, 3 x 4 regions
    [states] = encoder.backbone(pixel_values, output_hidden_states=True).hidden_states[1]
    assert states.shape == (4, 5, 7)
    regions = encoder.extract_regions(pixel_values)[0, :, 6:].view(3, 4, 4)
    for row, cells in enumerate((slice(0, 2), slice(1, 4), slice(3, 5))):  # all that a third of the rows touches
        mean = states[:, cells, :2].mean((1, 2))
        torch.testing.assert_close(regions[row, 0], nn.functional.layer_norm(mean, (4,)))


@pytest.mark.parametrize(
    ("config", "layers", "message"),
    [
        (transformer(ViTConfig), [3], "`backbone_layers` must be among the 3 hidden states of the backbone, .* got 3"),
        (transformer(ViTConfig), [1, -4], "`backbone_layers` must be among the 3 hidden states .* got -4"),
        (BACKBONES["swin"][0](), [-1, 0], r"`backbone_layers`: layer 0 .*'swin' has features of shape \(1, 256, 8\)"),
        (None, [1], "`backbone_layers` are of a backbone: give `backbone_config`, or leave them out"),
    ],
)
def test_layers_that_are_not_there_are_named(config: PreTrainedConfig | None, layers: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_encoder(config, backbone_layers=layers)


def test_layers_of_a_backbone_that_keeps_them_to_itself_are_refused() -> None:
    encoder = make_encoder(transformer(ViTConfig), backbone_layers=[1])
    encoder.backbone.register_forward_hook(lambda module, args, output: type(output)(output[0]))
    with pytest.raises(ValueError, match="`backbone_layers` needs the hidden states .* type 'vit' gives none"):
        encoder(pixel_values=torch.zeros(1, 3, 32, 32))


def test_a_text_model_is_refused_though_the_region_size_is_known() -> None:
    config = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    with pytest.raises(ValueError, match="'bert'"):
        make_encoder(config, region_size=16)


def test_wrong_region_size_is_named() -> None:
    encoder = make_encoder(transformer(ViTConfig), region_size=8)
    with pytest.raises(ValueError, match="16 features.*`region_size=8`"):
        encoder(pixel_values=torch.zeros(1, 3, 32, 32))


def test_a_frozen_backbone_stays_as_it_is() -> None:
    encoder = make_encoder(mobilenet()).train()
    assert encoder.training and encoder.projection.training
    assert not any(module.training for module in encoder.backbone.modules())
    before = {name: tensor.clone() for name, tensor in encoder.backbone.state_dict().items()}
    assert any("running_mean" in name for name in before)
    encoder(pixel_values=torch.randn(2, 3, 64, 64)).last_hidden_state.square().sum().backward()
    assert all(parameter.grad is None for parameter in encoder.backbone.parameters())
    assert all(parameter.grad is not None for parameter in encoder.projection.parameters())
    for name, tensor in encoder.backbone.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_a_trained_backbone_gets_gradients() -> None:
    encoder = make_encoder(mobilenet(), freeze_backbone=False).train()
    assert all(module.training for module in encoder.backbone.modules())
    before = {name: tensor.clone() for name, tensor in encoder.backbone.named_buffers()}
    # The layer norm's output has a fixed sum of squares: weigh it, or no gradient is left.
    memory = encoder(pixel_values=torch.randn(2, 3, 64, 64)).last_hidden_state
    (memory * torch.randn_like(memory)).sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in encoder.backbone.parameters())
    assert any(not torch.equal(tensor, before[name]) for name, tensor in encoder.backbone.named_buffers())


def test_frozen_batch_norms_keep_their_statistics() -> None:
    encoder = make_encoder(mobilenet(), freeze_backbone=False, freeze_batch_norms=True).train()
    before = {name: tensor.clone() for name, tensor in encoder.backbone.named_buffers()}
    pixel_values = torch.randn(2, 3, 64, 64)
    memory = encoder(pixel_values=pixel_values).last_hidden_state
    (memory * torch.randn_like(memory)).sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in encoder.backbone.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.backbone.named_buffers())
    regions = encoder.extract_regions(pixel_values)
    assert encoder.training
    torch.testing.assert_close(regions, encoder.eval().extract_regions(pixel_values))


def test_freezing_holds_within_the_whole_model() -> None:
    model = AttentionCaptionerForConditionalGeneration(
        AttentionCaptionerConfig(backbone_config=mobilenet(), vocab_size=20, hidden_size=8, embedding_size=8)
    )
    model.train()
    assert model.training and not model.model.encoder.backbone.training
    assert not any(parameter.requires_grad for parameter in model.model.encoder.backbone.parameters())
    model.model.encoder.eval()
    assert not model.model.encoder.training


def test_neither_both_nor_none_of_pixels_and_features() -> None:
    encoder = make_encoder(transformer(ViTConfig))
    with pytest.raises(ValueError, match="exactly one of `pixel_values` and `region_features`"):
        encoder()
    with pytest.raises(ValueError, match="exactly one of `pixel_values` and `region_features`"):
        encoder(pixel_values=torch.zeros(1, 3, 32, 32), region_features=torch.zeros(1, 4, 16))


def test_pixels_need_a_backbone() -> None:
    with pytest.raises(ValueError, match="without `backbone_config`.*`region_features`"):
        make_encoder(None, region_size=5)(pixel_values=torch.zeros(1, 3, 32, 32))


def test_features_computed_before_give_the_same_memory() -> None:
    encoder = make_encoder(transformer(ViTConfig), num_regions=16).eval()
    pixel_values = torch.randn(2, 3, 32, 32)
    expected = encoder(pixel_values=pixel_values).last_hidden_state
    features = encoder.extract_regions(pixel_values)
    torch.testing.assert_close(encoder(region_features=features).last_hidden_state, expected, rtol=0, atol=0)
    # Features are often kept in half the bits.
    half = encoder(region_features=features.half())
    assert half.last_hidden_state.dtype == torch.float32
    torch.testing.assert_close(half.last_hidden_state, expected, rtol=0.01, atol=0.01)


def test_memory_is_projection_plus_place() -> None:
    encoder = make_encoder(None, region_size=5, num_regions=3, box_positions=True).eval()
    nn.init.normal_(encoder.position_embedding.weight)
    features, boxes = torch.randn(2, 3, 5), torch.rand(2, 3, 4).sort(-1).values
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    output = encoder(region_features=features, region_mask=mask, region_boxes=boxes)
    assert output.memory_mask is mask
    linear, _, norm = encoder.projection
    for image in range(2):
        for region in range(3):
            left, top, right, bottom = boxes[image, region].tolist()
            place = torch.tensor([left, top, right, bottom, (right - left) * (bottom - top)])
            hidden = (linear.weight @ features[image, region] + linear.bias).clamp(min=0)
            hidden = (hidden - hidden.mean()) / (hidden.var(unbiased=False) + norm.eps).sqrt()
            expected = (
                hidden * norm.weight
                + norm.bias
                + encoder.position_embedding.weight[region]
                + encoder.box_projection.weight @ place
                + encoder.box_projection.bias
            )
            torch.testing.assert_close(output.last_hidden_state[image, region], expected)


def test_the_boxes_of_a_grid_are_its_cells() -> None:
    backbone = ResNetConfig(embedding_size=4, hidden_sizes=[6], depths=[1], layer_type="basic")  # a quarter the size
    encoder = make_encoder(backbone, box_positions=True).eval()
    pixel_values = torch.randn(2, 3, 8, 16)
    cells = [[column / 4, row / 2, (column + 1) / 4, (row + 1) / 2] for row in range(2) for column in range(4)]
    torch.testing.assert_close(
        encoder(pixel_values=pixel_values), encoder(pixel_values, region_boxes=torch.tensor([cells, cells]))
    )


def test_without_projection_the_features_are_the_memory() -> None:
    encoder = make_encoder(transformer(ViTConfig, hidden_size=6), project_regions=False).eval()
    pixel_values = torch.randn(2, 3, 32, 32)
    assert torch.equal(encoder(pixel_values=pixel_values).last_hidden_state, encoder.extract_regions(pixel_values))
    assert not list(encoder.projection.parameters())
    with pytest.raises(ValueError, match="`region_size` and `memory_size` must be equal, got 16 and 6"):
        make_encoder(transformer(ViTConfig), project_regions=False)


def test_region_dropout_in_training_only() -> None:
    encoder = make_encoder(None, region_size=50, region_dropout=0.5)
    features = torch.ones(1, 4, 50)
    assert not torch.equal(*(encoder(region_features=features).last_hidden_state for _ in range(2)))
    encoder.eval()
    assert torch.equal(*(encoder(region_features=features).last_hidden_state for _ in range(2)))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"region_features": torch.zeros(2, 3, 4)}, r"`region_features` must have shape .*5.*got \(2, 3, 4\)"),
        ({"region_features": torch.zeros(3, 5)}, r"`region_features` must have shape .*got \(3, 5\)"),
        ({"region_mask": torch.ones(2, 4)}, r"`region_mask` must have shape \(2, 3\), got \(2, 4\)"),
        ({"region_mask": torch.tensor([[0, 1, 0], [0, 0, 0]])}, r"images \[1\] of the batch are masked as a whole"),
        ({"region_boxes": torch.zeros(2, 3, 5)}, r"`region_boxes` must have shape \(2, 3, 4\), got \(2, 3, 5\)"),
        ({"region_boxes": None}, "`box_positions`: pass `region_boxes`"),
    ],
)
def test_a_wrong_shape_names_the_argument(wrong: dict, message: str) -> None:
    encoder = make_encoder(None, region_size=5, box_positions=True)
    inputs = {
        "region_features": torch.zeros(2, 3, 5),
        "region_mask": torch.ones(2, 3),
        "region_boxes": torch.zeros(2, 3, 4),
    }
    encoder(**inputs)
    with pytest.raises(ValueError, match=message):
        encoder(**inputs | wrong)


def test_wrong_number_of_regions_is_named() -> None:
    encoder = make_encoder(transformer(Dinov2Config), num_regions=16)
    encoder(pixel_values=torch.zeros(1, 3, 32, 32))
    with pytest.raises(ValueError, match="18 regions.*16 positions"):
        encoder(pixel_values=torch.zeros(1, 3, 24, 48))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_around_a_pretrained_backbone(tmp_path: Path, dtype: torch.dtype) -> None:
    backbone = AutoModel.from_config(mobilenet()).to(dtype)
    for name, buffer in backbone.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    backbone.save_pretrained(tmp_path)
    model = AttentionCaptionerForConditionalGeneration.from_backbone_pretrained(tmp_path, num_regions=4, **CAPTIONER)
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}
    assert model.config.num_regions == 4 and model.config.region_size == 1280
    assert model.config.backbone_config.model_type == "mobilenet_v2"
    loaded = model.model.encoder.backbone.state_dict()
    assert set(loaded) == set(backbone.state_dict())
    for name, tensor in backbone.state_dict().items():
        assert torch.equal(loaded[name], tensor.to(loaded[name].dtype)), name
    assert not any(parameter.requires_grad for parameter in model.model.encoder.backbone.parameters())
    loss = model(pixel_values=torch.randn(2, 3, 64, 64), labels=torch.randint(4, 20, (2, 3))).loss
    assert loss.isfinite()
    # And the whole of it, saved and loaded in either precision.
    model.save_pretrained(tmp_path / "whole")
    for loaded_dtype in (torch.float32, torch.bfloat16):
        again = type(model).from_pretrained(tmp_path / "whole", dtype=loaded_dtype)
        assert {tensor.dtype for tensor in again.parameters()} == {loaded_dtype}


def test_around_a_given_configuration(tmp_path: Path) -> None:
    AutoModel.from_config(transformer(ViTConfig)).save_pretrained(tmp_path)
    config = AttentionCaptionerConfig(freeze_backbone=False, rnn_type="gru", **CAPTIONER)
    model = AttentionCaptionerForConditionalGeneration.from_backbone_pretrained(tmp_path, config=config)
    assert model.config.rnn_type == "gru" and model.config.region_size == 16
    assert all(parameter.requires_grad for parameter in model.parameters())
    with pytest.raises(ValueError, match="either `config` or its fields.*rnn_type"):
        AttentionCaptionerForConditionalGeneration.from_backbone_pretrained(tmp_path, config=config, rnn_type="lstm")


def test_around_the_vision_tower_of_clip(tmp_path: Path) -> None:
    text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = transformer(CLIPVisionConfig).to_dict()
    clip = CLIPModel(CLIPConfig(text_config=text | {"vocab_size": 30}, vision_config=vision, projection_dim=8)).eval()
    clip.save_pretrained(tmp_path)
    model = AttentionCaptionerForConditionalGeneration.from_backbone_pretrained(tmp_path, **CAPTIONER)
    assert model.config.backbone_config.model_type == "clip_vision_model"
    pixel_values = torch.randn(2, 3, 32, 32)
    expected = clip.vision_model(pixel_values).last_hidden_state[:, 1:]
    torch.testing.assert_close(model.model.encoder.extract_regions(pixel_values), expected, rtol=0, atol=0)


def test_around_a_real_mobilenet(hf_attention_data: Path) -> None:
    folder = hf_attention_data / "models" / "mobilenet_v2_1.0_224"
    model = AttentionCaptionerForConditionalGeneration.from_backbone_pretrained(folder, num_regions=49, **CAPTIONER)
    backbone = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    pixel_values = torch.randn(1, 3, 224, 224)
    expected = backbone(pixel_values).last_hidden_state
    assert expected.shape == (1, 1280, 7, 7)
    assert expected.std() > 0.01
    regions = model.eval().model.encoder.extract_regions(pixel_values)
    torch.testing.assert_close(regions, expected.view(1, 1280, 49).mT, rtol=0, atol=0)
    assert model.config.region_size == 1280
