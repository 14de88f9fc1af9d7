"""How a question looks at the regions of an image, and what comes of both: one vector."""

import torch
from torch import nn

from .attention import masked_softmax
from .decoder import Dropout


def gated_tanh(inputs: torch.Tensor) -> torch.Tensor:
    r"""\\( \tanh(x) \circ \sigma(x') \\) of the two halves of the last dimension, x and x'."""
    value, gate = inputs.chunk(2, -1)
    return value.tanh() * gate.sigmoid()


class QuestionAttention(nn.Module):
    """
    Base of the forms of attention: `forward` takes the question's vector and the regions.

    Args:
        config ([`AttentionVQAConfig`]): The configuration.
    """

    def __init__(self, config):
        super().__init__()
        self.dropout = Dropout(config.joint_dropout)

    def forward(
        self, question: torch.Tensor, regions: torch.Tensor, region_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """
        Args:
            question (`torch.Tensor` of shape `(batch, question_size)`): The question's vector.
            regions (`torch.Tensor` of shape `(batch, regions, memory_size)`): What is looked at.
            region_mask (`torch.Tensor` of shape `(batch, regions)`, *optional*): 1 where attention is allowed.

        Returns:
            `tuple`: the joint vector, of shape `(batch, joint_size)`, and one map for each glimpse, of shape `(batch,
            regions)` and at least float32.
        """
        raise NotImplementedError


class StackedAttention(QuestionAttention):
    r"""
    Stacked attention (Yang et al. 2016, section 3.3): with \\( v_i = \tanh(W_I f_i + b_I) \\) and \\( u^0 = v_Q \\),
    each hop k adds what it saw,

    \\( h^k_i = \tanh(W^k_{I,A} v_i + W^k_{Q,A} u^{k-1} + b^k_A) \\), \\( p^k = \mathrm{softmax}(W^k_P h^k) \\),
    \\( u^k = \sum_i p^k_i v_i + u^{k-1} \\).
    """

    def __init__(self, config):
        super().__init__(config)
        self.region_proj = nn.Linear(config.memory_size, config.joint_size)
        self.hops = nn.ModuleList(
            nn.ModuleDict(
                {
                    "region": nn.Linear(config.joint_size, config.attention_size, bias=False),
                    "question": nn.Linear(config.joint_size, config.attention_size),
                    "score": nn.Linear(config.attention_size, 1, bias=False),
                }
            )
            for _ in range(config.num_glimpses)
        )

    def forward(self, question, regions, region_mask=None):
        regions = self.dropout(self.region_proj(regions).tanh())
        joint, maps = question, []
        for hop in self.hops:
            hidden = self.dropout((hop["region"](regions) + hop["question"](joint).unsqueeze(1)).tanh())
            weights = _attend(hop["score"](hidden), region_mask)
            joint = joint + _look(weights, regions).squeeze(1)
            maps.append(weights.squeeze(1))
        return joint, tuple(maps)


class GlimpseAttention(QuestionAttention):
    r"""
    Glimpses (Kazemi & Elqursh 2017, section 3.3): with the question's state s and the regions \\( \phi_l \\),

    \\( \alpha_{c} = \mathrm{softmax}_l(w_c^\top \mathrm{ReLU}(W_\phi \phi_l + W_s s + b)) \\),
    \\( x_c = \sum_l \alpha_{c,l} \phi_l \\), and the joint vector \\( \mathrm{ReLU}(W [x_1; \dots; x_C; s] + b) \\).
    """

    def __init__(self, config):
        super().__init__(config)
        self.region_proj = nn.Linear(config.memory_size, config.attention_size, bias=False)
        self.question_proj = nn.Linear(config.question_size, config.attention_size)
        self.score = nn.Linear(config.attention_size, config.num_glimpses, bias=False)
        self.joint = nn.Linear(config.num_glimpses * config.memory_size + config.question_size, config.joint_size)

    def forward(self, question, regions, region_mask=None):
        regions = self.dropout(regions)
        hidden = (self.region_proj(regions) + self.question_proj(question).unsqueeze(1)).relu()
        weights = _attend(self.score(self.dropout(hidden)), region_mask)
        seen = _look(weights, regions).flatten(1)
        return self.joint(self.dropout(torch.cat([seen, question], -1))).relu(), weights.unbind(1)


class TopDownAttention(QuestionAttention):
    r"""
    Top-down attention over regions or detected boxes (Anderson et al. 2018, section 3.3): with gated layers
    \\( f(x) = \tanh(W x + b) \circ \sigma(W' x + b') \\),

    \\( \alpha = \mathrm{softmax}_i(w_a^\top f_a([v_i; q])) \\), \\( \hat v = \sum_i \alpha_i v_i \\),
    \\( h = f_q(q) \circ f_v(\hat v) \\), and the joint vector \\( f_o(h) \\).
    """

    def __init__(self, config):
        super().__init__(config)
        # Both halves of f_a; the question's share is the same for all regions.
        self.region_proj = nn.Linear(config.memory_size, 2 * config.attention_size, bias=False)
        self.question_proj = nn.Linear(config.question_size, 2 * config.attention_size)
        self.score = nn.Linear(config.attention_size, 1, bias=False)
        self.question = nn.Linear(config.question_size, 2 * config.joint_size)
        self.seen = nn.Linear(config.memory_size, 2 * config.joint_size)
        self.joint = nn.Linear(config.joint_size, 2 * config.joint_size)

    def forward(self, question, regions, region_mask=None):
        regions = self.dropout(regions)
        hidden = gated_tanh(self.region_proj(regions) + self.question_proj(question).unsqueeze(1))
        weights = _attend(self.score(self.dropout(hidden)), region_mask).squeeze(1)
        seen = _look(weights.unsqueeze(1), regions).squeeze(1)
        joint = gated_tanh(self.question(question)) * gated_tanh(self.seen(seen))
        return gated_tanh(self.joint(self.dropout(joint))), (weights,)


class NoAttention(QuestionAttention):
    r"""
    The baseline of Antol et al. 2015, which sees the image as a whole: with the regions' mean
    \\( \bar v \\), the joint vector \\( \tanh(W (\tanh(W_q q + b_q) \circ \tanh(W_v \bar v + b_v)) + b) \\). It has no
    map.
    """

    def __init__(self, config):
        super().__init__(config)
        self.question = nn.Linear(config.question_size, config.joint_size)
        self.seen = nn.Linear(config.memory_size, config.joint_size)
        self.joint = nn.Linear(config.joint_size, config.joint_size)

    def forward(self, question, regions, region_mask=None):
        if region_mask is None:
            mean = regions.mean(1)
        else:
            mask = region_mask.to(regions.dtype).unsqueeze(-1)
            mean = (regions * mask).sum(1) / mask.sum(1)
        joint = self.question(question).tanh() * self.seen(self.dropout(mean)).tanh()
        return self.joint(self.dropout(joint)).tanh(), ()


def _attend(scores: torch.Tensor, region_mask: torch.Tensor | None) -> torch.Tensor:
    """From scores (batch, regions, glimpses) to weights (batch, glimpses, regions)."""
    return masked_softmax(scores.transpose(1, 2), None if region_mask is None else region_mask.bool().unsqueeze(1))


def _look(weights: torch.Tensor, regions: torch.Tensor) -> torch.Tensor:
    return torch.bmm(weights.to(regions.dtype), regions)


QUESTION_ATTENTION_CLASSES = {
    "stacked": StackedAttention,
    "glimpses": GlimpseAttention,
    "top_down": TopDownAttention,
    None: NoAttention,
}
