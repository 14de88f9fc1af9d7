"""Channels last for backbones: another order in memory, the same regions."""

import pytest
import torch
from common.tiny_captioner import IMAGE_SIZE, make_model
from torch.testing import assert_close

from hf_attention import fast


@pytest.mark.parametrize("backbone", ["resnet", "mobilenet_v2", "vit"])
def test_regions_and_gradients_are_those_of_the_plain_order(backbone):
    model = make_model(backbone=backbone, freeze_backbone=False).double().eval()
    encoder = model.get_encoder()
    pixel_values = torch.rand(3, 3, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.float64)
    orders = []
    encoder.backbone.register_forward_pre_hook(
        lambda module, args, kwargs: orders.append(kwargs["pixel_values"].stride(1) == 1), with_kwargs=True
    )

    def regions_and_gradients():
        regions = encoder.extract_regions(pixel_values)
        trained = [parameter for parameter in encoder.backbone.parameters() if parameter.requires_grad]
        return regions, torch.autograd.grad(regions.square().sum(), trained, allow_unused=True)

    quick = regions_and_gradients()
    with fast.disable("layout"):
        plain = regions_and_gradients()
    assert orders == [True, False]
    assert_close(quick, plain)
