import math

import pytest
import torch
from common.factories import ragged_mask
from torch.testing import assert_close

from hf_attention.models.attention import ATTENTION_CLASSES, Attention
from hf_attention.models.configuration_attention import AttentionDecoderConfig


BATCH, QUERIES, POSITIONS, SIZE = 3, 2, 5, 8
KINDS = [{"attention_type": kind} for kind in ATTENTION_CLASSES] + [
    {"attention_type": "scaled_dot", "num_attention_heads": 2},
    {"attention_type": "additive", "coverage": True},
]
over_kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind.values())))


def make_attention(kind: dict) -> Attention:
    config = AttentionDecoderConfig(hidden_size=SIZE, memory_size=SIZE, attention_size=4, **kind)
    return ATTENTION_CLASSES[config.attention_type](config)


def make_inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    query, memory = torch.randn(BATCH, QUERIES, SIZE), torch.randn(BATCH, POSITIONS, SIZE)
    return query, memory, torch.rand(BATCH, QUERIES, POSITIONS)


def attend(attention: Attention, query, memory, coverage, mask=None):
    return attention(query, attention.project(memory, mask), coverage if attention.config.coverage else None)


@over_kinds
@torch.no_grad()
def test_weights_sum_to_one_and_are_zero_where_masked(kind):
    attention, (query, memory, coverage) = make_attention(kind), make_inputs()
    mask = ragged_mask(BATCH)
    context, weights = attend(attention, query, memory, coverage, mask)
    assert context.shape == (BATCH, QUERIES, SIZE)
    assert weights.shape == (BATCH, attention.config.num_attention_heads, QUERIES, POSITIONS)
    assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    assert (weights[(mask == 0)[:, None, None].expand_as(weights)] == 0).all()


@over_kinds
@torch.no_grad()
def test_masked_positions_could_as_well_not_be_there(kind):
    attention, (query, memory, coverage) = make_attention(kind), make_inputs()
    mask = ragged_mask(BATCH)
    context, weights = attend(attention, query, memory, coverage, mask)
    for item in range(BATCH):
        real = mask[item].nonzero().flatten()
        one = slice(item, item + 1)
        alone, alone_weights = attend(attention, query[one], memory[one, real], coverage[one][..., real])
        assert_close(alone, context[one])
        assert_close(alone_weights, weights[one][..., real])


@over_kinds
@torch.no_grad()
def test_the_order_of_the_positions_does_not_matter(kind):
    attention, (query, memory, coverage) = make_attention(kind), make_inputs()
    order = torch.tensor([3, 0, 4, 2, 1])
    context, weights = attend(attention, query, memory, coverage)
    other, other_weights = attend(attention, query, memory[:, order], coverage[..., order])
    assert_close(other, context)
    assert_close(other_weights, weights[..., order])


@torch.no_grad()
def test_weights_of_known_scores():
    """With the right weights every kind scores these positions 0, log 2 and log 5: weights 1/8, 2/8 and 5/8."""
    scores = torch.tensor([0.0, math.log(2), math.log(5)])
    query = torch.zeros(1, 1, SIZE)
    query[..., 0] = 1
    memory = torch.zeros(1, 3, SIZE)
    memory[0, :, 0] = scores
    expected = torch.tensor([1 / 8, 2 / 8, 5 / 8])

    attentions = {kind: make_attention({"attention_type": kind}) for kind in ("dot", "general", "scaled_dot")}
    attentions["general"].key_proj.weight.copy_(torch.eye(SIZE))
    for name, projection in attentions["scaled_dot"].named_children():
        torch.nn.init.eye_(projection.weight)
        projection.bias.zero_()
        if name == "query_proj":
            projection.weight *= 2  # the square root of the head's size, 4, by which scores are divided
    for attention in attentions.values():
        context, weights = attend(attention, query, memory, None)
        assert_close(weights.flatten(), expected)
        assert_close(context[0, 0, 0], (expected * scores).sum())

    additive = make_attention({"attention_type": "additive"})
    for parameter in additive.parameters():
        parameter.zero_()
    # tanh(scale x) / scale is x where scale is small
    additive.key_proj.weight[0, 0] = 1e-3
    additive.score_proj.weight[0, 0] = 1e3
    assert_close(attend(additive, query, memory, None)[1].flatten(), expected)


@torch.no_grad()
def test_what_was_covered_is_avoided_where_the_weights_say_so():
    attention, (query, memory, _) = make_attention({"attention_type": "additive", "coverage": True}), make_inputs()
    attention.coverage_proj.weight.fill_(-1.0)
    attention.score_proj.weight.fill_(1.0)
    coverage = torch.zeros(BATCH, QUERIES, POSITIONS)
    fresh = attend(attention, query, memory, coverage)[1]
    coverage[..., 2] = 3.0
    tired = attend(attention, query, memory, coverage)[1]
    assert (tired[..., 2] < fresh[..., 2]).all()


@over_kinds
@torch.no_grad()
def test_weights_are_float32_at_least(kind):
    attention, (query, memory, coverage) = make_attention(kind), make_inputs()
    exact_context, exact = attend(attention, query, memory, coverage)
    attention.bfloat16()
    context, weights = attend(attention, query.bfloat16(), memory.bfloat16(), coverage)
    assert context.dtype == torch.bfloat16
    assert weights.dtype == torch.float32
    assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    assert_close(weights, exact, rtol=0.1, atol=0.05)
    assert_close(context.float(), exact_context, rtol=0.1, atol=0.1)
