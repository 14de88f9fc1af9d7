"""A GPU answers what a processor answers, and both train in half precision."""

import copy
from pathlib import Path

import pytest
import torch
from common import tiny_captioner
from common.factories import make_tokens, over_configurations, over_models, read
from common.strategies import ONE_SEQUENCE, STRATEGIES, generate
from PIL import Image
from torch import nn
from torch.testing import assert_close
from transformers import pipeline

from hf_attention import fast
from hf_attention.models.loss import summed_token_loss


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

DEVICE = "cuda"
# The assistant of "assisted" stays on the processor.
DETERMINISTIC = [name for name in STRATEGIES if "sample" not in name and name != "assisted"]
CLOSE = {"rtol": 1e-7, "atol": 1e-8, "check_device": False}


def without_dropout(model: nn.Module) -> nn.Module:
    """In training mode, without which cuDNN has no gradients."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(module, nn.RNNBase):
            module.dropout = 0.0
    return model.train()


@needs_gpu
@over_configurations
def test_logits_maps_and_gradients(factory, settings: dict):
    model, inputs = factory.to_double(factory.make_model(**settings), factory.make_inputs(3))
    tokens = make_tokens(rows=3, length=4)
    results = []
    for device in ("cpu", DEVICE):
        moved = without_dropout(copy.deepcopy(model).to(device))
        given = {name: value.to(device) for name, value in inputs.items()}
        outputs = read(moved, given, tokens.to(device), None, output_attentions=True)
        outputs.logits.sin().sum().backward()
        gradients = [parameter.grad for parameter in moved.parameters() if parameter.grad is not None]
        results.append([outputs.logits, *(outputs.cross_attentions or ()), *gradients])
    assert all(tensor.device.type == DEVICE for tensor in results[1])
    assert_close(results[1], results[0], **CLOSE)


@needs_gpu
@over_models
@pytest.mark.parametrize("strategy", DETERMINISTIC)
def test_generation(factory, strategy: str):
    items = 1 if strategy in ONE_SEQUENCE else 3
    model, inputs = factory.to_double(factory.make_model(), factory.make_inputs(items))
    expected = generate(factory, model, inputs, strategy)
    inputs = {name: value.to(DEVICE) for name, value in inputs.items()}
    outputs = generate(factory, model.to(DEVICE), inputs, strategy)
    assert_close(outputs.sequences, expected.sequences, check_device=False)


@over_models
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("device", ["cpu", pytest.param(DEVICE, marks=needs_gpu)])
def test_half_precision_trains(factory, device: str, dtype: torch.dtype):
    """The loss falls, and is near float32's."""
    if device == "cpu" and dtype == torch.float16 and not fast.is_enabled("recurrence"):
        pytest.skip("on many processors, PyTorch's own LSTM has no float16")
    model = without_dropout(factory.make_model()).to(device)
    inputs = {name: value.to(device) for name, value in factory.make_inputs(3).items()}
    labels = make_tokens(rows=3, length=4).to(device) if factory.has_encoder else inputs["input_ids"]
    with torch.no_grad():
        exact = model(**inputs, labels=labels).loss
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    losses = []
    for _ in range(20):
        with torch.autocast(device, dtype):
            loss = model(**inputs, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
    assert_close(losses[0].float(), exact, rtol=0.05, atol=0.0)
    assert losses[-1] < losses[0] / 2


@needs_gpu
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_of_many_positions(smoothing: float):
    head = nn.Linear(33, 500, dtype=torch.float64)
    states = torch.randn(4, 300, 33, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 500, (4, 300)).masked_fill_(torch.rand(4, 300) < 0.2, -100)
    results = []
    for device in ("cpu", DEVICE):
        value = summed_token_loss(states.to(device), head.to(device), labels.to(device), smoothing)
        results.append([value, *torch.autograd.grad(value, (states, *head.parameters()))])
    assert_close(results[1], results[0], **CLOSE)


@needs_gpu
def test_pipeline(tmp_path: Path):
    tiny_captioner.make_model().save_pretrained(tmp_path)
    tiny_captioner.make_processor().save_pretrained(tmp_path)
    image = Image.new("RGB", (40, 40), "red")
    answers = []
    for device in ("cpu", DEVICE):
        captioner = pipeline("image-to-text", str(tmp_path), device=device)
        answers.append(captioner([image, image], batch_size=2, output_attentions=True, max_new_tokens=6))
    for [expected], [answer] in zip(*answers, strict=True):
        assert answer["generated_text"] == expected["generated_text"]
        assert_close(answer["attentions"], expected["attentions"], rtol=1e-3, atol=1e-3, check_device=False)
