"""Each form of attention against its paper's equations, one question and one region at a time."""

import pytest
import torch
from common.reference import sigmoid, softmax

from hf_attention.models.configuration_attention_vqa import AttentionVQAConfig
from hf_attention.models.question_attention import QUESTION_ATTENTION_CLASSES


BATCH, REGIONS, MEMORY, QUESTION = 3, 5, 7, 6


def make(form: str | None, **settings) -> torch.nn.Module:
    sizes = {"memory_size": MEMORY, "encoder_hidden_size": QUESTION, "attention_size": 4}
    if form != "stacked":
        sizes["joint_size"] = 9
    config = AttentionVQAConfig(attention_form=form, region_size=8, **{**sizes, **settings})
    return QUESTION_ATTENTION_CLASSES[form](config).double().eval()


def make_inputs(ragged: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    question = torch.randn(BATCH, QUESTION, dtype=torch.float64)
    regions = torch.randn(BATCH, REGIONS, MEMORY, dtype=torch.float64)
    mask = None
    if ragged:
        mask = torch.ones(BATCH, REGIONS, dtype=torch.long)
        mask[0, 3:] = 0
        mask[1, [0, 2]] = 0
    return question, regions, mask


class Reference:
    """With the module's weights, over the unmasked regions of one image."""

    def __init__(self, module: torch.nn.Module):
        self.weights = dict(module.named_parameters())

    def linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        result = self.weights[f"{name}.weight"] @ x
        return result + self.weights[f"{name}.bias"] if f"{name}.bias" in self.weights else result

    def gated(self, x: torch.Tensor) -> torch.Tensor:
        half = len(x) // 2
        return torch.tanh(x[:half]) * sigmoid(x[half:])

    def stacked(self, question: torch.Tensor, regions: list[torch.Tensor], hops: int) -> tuple:
        regions = [torch.tanh(self.linear("region_proj", region)) for region in regions]
        u, maps = question, []
        for hop in range(hops):
            scores = []
            for region in regions:
                h = torch.tanh(self.linear(f"hops.{hop}.region", region) + self.linear(f"hops.{hop}.question", u))
                scores.append(self.linear(f"hops.{hop}.score", h)[0])
            maps.append(softmax(torch.stack(scores)))
            u = u + sum(p * region for p, region in zip(maps[-1], regions, strict=True))
        return u, maps

    def look(self, question: torch.Tensor, regions: list[torch.Tensor], glimpses: int) -> tuple:
        maps, seen = [], []
        for glimpse in range(glimpses):
            scores = []
            for region in regions:
                h = self.linear("region_proj", region) + self.linear("question_proj", question)
                scores.append(self.weights["score.weight"][glimpse] @ h.clamp(min=0))
            maps.append(softmax(torch.stack(scores)))
            seen.append(sum(a * region for a, region in zip(maps[-1], regions, strict=True)))
        return torch.cat(seen), maps

    def glimpses(self, question: torch.Tensor, regions: list[torch.Tensor], glimpses: int) -> tuple:
        seen, maps = self.look(question, regions, glimpses)
        return self.linear("joint", torch.cat([seen, question])).clamp(min=0), maps

    def bilinear(self, question: torch.Tensor, regions: list[torch.Tensor], glimpses: int) -> tuple:
        seen, maps = self.look(question, regions, glimpses)
        product = torch.tanh(self.linear("seen", seen)) * torch.tanh(self.linear("question", question))
        centred = product - product.sum() / len(product)
        scaled = centred / torch.sqrt((centred**2).sum() / len(product) + 1e-5)
        return scaled * self.weights["norm.weight"] + self.weights["norm.bias"], maps

    def top_down(self, question: torch.Tensor, regions: list[torch.Tensor], glimpses: int) -> tuple:
        scores = []
        for region in regions:
            both = torch.cat([self.weights["region_proj.weight"], self.weights["question_proj.weight"]], 1)
            h = self.gated(both @ torch.cat([region, question]) + self.weights["question_proj.bias"])
            scores.append(self.linear("score", h)[0])
        weights = softmax(torch.stack(scores))
        seen = sum(a * region for a, region in zip(weights, regions, strict=True))
        h = self.gated(self.linear("question", question)) * self.gated(self.linear("seen", seen))
        return self.gated(self.linear("joint", h)), [weights]

    def none(self, question: torch.Tensor, regions: list[torch.Tensor], glimpses: int) -> tuple:
        mean = sum(regions) / len(regions)
        h = torch.tanh(self.linear("question", question)) * torch.tanh(self.linear("seen", mean))
        return torch.tanh(self.linear("joint", h)), []


@pytest.mark.parametrize("ragged", [False, True], ids=["", "ragged"])
@pytest.mark.parametrize(
    ("form", "glimpses"),
    [
        ("stacked", 1),
        ("stacked", 3),
        ("glimpses", 1),
        ("glimpses", 3),
        ("bilinear", 1),
        ("bilinear", 3),
        ("top_down", 1),
        (None, 2),
    ],
)
def test_equals_the_equations(form: str | None, glimpses: int, ragged: bool) -> None:
    module = make(form, num_glimpses=glimpses)
    question, regions, mask = make_inputs(ragged)
    joint, maps = module(question, regions, mask)
    assert len(maps) == (0 if form is None else glimpses)
    for row in range(BATCH):
        real = range(REGIONS) if mask is None else mask[row].nonzero().flatten().tolist()
        expected, expected_maps = getattr(Reference(module), form or "none")(
            question[row], [regions[row, i] for i in real], glimpses
        )
        torch.testing.assert_close(joint[row], expected)
        for got, wanted in zip(maps, expected_maps, strict=True):
            torch.testing.assert_close(got[row, list(real)], wanted)
            assert got[row].sum().item() == pytest.approx(1)


@pytest.mark.parametrize("form", QUESTION_ATTENTION_CLASSES)
def test_gradients(form: str | None) -> None:
    module = make(form)
    question, regions, mask = make_inputs(ragged=True)
    inputs = (question.requires_grad_(), regions.requires_grad_())
    assert torch.autograd.gradcheck(lambda q, r: (lambda joint, maps: (joint, *maps))(*module(q, r, mask)), inputs)


@pytest.mark.parametrize("form", QUESTION_ATTENTION_CLASSES)
def test_permuting_regions_permutes_the_maps(form: str | None) -> None:
    module = make(form)
    question, regions, mask = make_inputs(ragged=True)
    order = torch.randperm(REGIONS)
    joint, maps = module(question, regions, mask)
    other_joint, other_maps = module(question, regions[:, order], mask[:, order])
    torch.testing.assert_close(other_joint, joint)
    for one, other in zip(maps, other_maps, strict=True):
        torch.testing.assert_close(other, one[:, order])


@pytest.mark.parametrize("form", QUESTION_ATTENTION_CLASSES)
def test_dropout_is_for_training(form: str | None) -> None:
    module = make(form, joint_dropout=0.5)
    inputs = make_inputs(ragged=False)
    assert torch.equal(module(*inputs)[0], module(*inputs)[0])
    module.train()
    assert not torch.equal(module(*inputs)[0], module(*inputs)[0])


def test_weights_stay_float32_in_bfloat16() -> None:
    for form in ("stacked", "glimpses", "bilinear", "top_down"):
        question, regions, mask = make_inputs(ragged=True)
        _, maps = make(form).bfloat16()(question.bfloat16(), regions.bfloat16(), mask)
        for weights in maps:
            assert weights.dtype == torch.float32
            torch.testing.assert_close(weights.sum(-1), torch.ones(BATCH))
