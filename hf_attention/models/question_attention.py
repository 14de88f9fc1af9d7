"""How a question looks at the regions of an image, and what comes of both: one vector."""

import torch
from torch import nn

from .attention import masked_softmax
from .dropout import Dropout


def gated_tanh(inputs: torch.Tensor) -> torch.Tensor:
    r"""\\( \tanh(x) \circ \sigma(x') \\) of the two halves of the last dimension, x and x'."""
    value, gate = inputs.chunk(2, -1)
    return value.tanh() * gate.sigmoid()


class QuestionAttention(nn.Module):
    """
    Base of the forms of attention. Subclasses say how questions look at the regions of one image (`look`).

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
            question (`torch.Tensor` of shape `(batch, question_size)`):
                The questions' vectors. `batch` is a multiple of the images: as many in turn belong to each.
            regions (`torch.Tensor` of shape `(images, regions, memory_size)`):
                What is looked at. What does not wait for a question is computed once for each image.
            region_mask (`torch.Tensor` of shape `(images, regions)`, *optional*):
                1 where attention is allowed.

        Returns:
            `tuple`: the joint vector, of shape `(batch, joint_size)`, and one map for each glimpse, of shape `(batch,
            regions)` and at least float32.
        """
        mask = None if region_mask is None else region_mask.bool()[:, None, None]
        joint, maps = self.look(question.unflatten(0, (regions.shape[0], -1)), regions, mask)
        return joint.flatten(0, 1), maps

    def look(
        self, question: torch.Tensor, regions: torch.Tensor, mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """
        As `forward`, with the questions of each image, `(images, questions, question_size)`, and a mask `(images, 1,
        1, regions)`; the joint vectors are of shape `(images, questions, joint_size)`.
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

    def look(self, question, regions, mask):
        regions = self.dropout(self.region_proj(regions).tanh())
        joint, maps = question, []
        for hop in self.hops:
            hidden = self.dropout((hop["region"](regions).unsqueeze(1) + hop["question"](joint).unsqueeze(2)).tanh())
            [weights] = _attend(hop["score"](hidden), mask)
            joint = joint + _sum_regions(weights, regions)
            maps.append(weights)
        return joint, tuple(maps)


class Glimpses(QuestionAttention):
    """Base of the forms that look several times at once. Subclasses say what comes of it (`join`)."""

    def __init__(self, config):
        super().__init__(config)
        self.region_proj = nn.Linear(config.memory_size, config.attention_size, bias=False)
        self.question_proj = nn.Linear(config.question_size, config.attention_size)
        self.score = nn.Linear(config.attention_size, config.num_glimpses, bias=False)

    def look(self, question, regions, mask):
        regions = self.dropout(regions)
        hidden = (self.region_proj(regions).unsqueeze(1) + self.question_proj(question).unsqueeze(2)).relu()
        maps = _attend(self.score(self.dropout(hidden)), mask)
        seen = torch.cat([_sum_regions(weights, regions) for weights in maps], -1)
        return self.join(seen, question), maps

    def join(self, seen: torch.Tensor, question: torch.Tensor) -> torch.Tensor:
        """
        Args:
            seen (`torch.Tensor` of shape `(images, questions, num_glimpses * memory_size)`): What the glimpses saw.
            question (`torch.Tensor` of shape `(images, questions, question_size)`): The questions' vectors.

        Returns:
            `torch.Tensor` of shape `(images, questions, joint_size)`: The joint vectors.
        """
        raise NotImplementedError


class GlimpseAttention(Glimpses):
    r"""
    Glimpses (Kazemi & Elqursh 2017, section 3.3): with the question's state s and the regions \\( \phi_l \\),

    \\( \alpha_{c} = \mathrm{softmax}_l(w_c^\top \mathrm{ReLU}(W_\phi \phi_l + W_s s + b)) \\),
    \\( x_c = \sum_l \alpha_{c,l} \phi_l \\), and the joint vector \\( \mathrm{ReLU}(W [x_1; \dots; x_C; s] + b) \\).
    """

    def __init__(self, config):
        super().__init__(config)
        self.joint = nn.Linear(config.num_glimpses * config.memory_size + config.question_size, config.joint_size)

    def join(self, seen, question):
        return self.joint(self.dropout(torch.cat([seen, question], -1))).relu()


class BilinearAttention(Glimpses):
    r"""
    The same glimpses, whose sights \\( x = [x_1; \dots; x_C] \\) are multiplied with the question: low-rank bilinear
    pooling (Kim et al. 2017, section 3.2), whose last matrix is the classifier's. The joint vector is

    \\( \mathrm{LayerNorm}(\tanh(U x + b_U) \circ \tanh(V s + b_V)) \\).

    Whether the two agree, which answers "is it red?", is a sum of such products; of \\( [x; s] \\) they would have to
    be made of sums first. The norm, for which Yu et al. 2017 take powers and the length, keeps the products from being
    too small to learn from.
    """

    def __init__(self, config):
        super().__init__(config)
        self.seen = nn.Linear(config.num_glimpses * config.memory_size, config.joint_size)
        self.question = nn.Linear(config.question_size, config.joint_size)
        self.norm = nn.LayerNorm(config.joint_size)

    def join(self, seen, question):
        return self.norm(self.seen(seen).tanh() * self.question(question).tanh())


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

    def look(self, question, regions, mask):
        regions = self.dropout(regions)
        hidden = gated_tanh(self.region_proj(regions).unsqueeze(1) + self.question_proj(question).unsqueeze(2))
        [weights] = _attend(self.score(self.dropout(hidden)), mask)
        seen = _sum_regions(weights, regions)
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

    def look(self, question, regions, mask):
        if mask is None:
            mean = regions.mean(1, keepdim=True)
        else:
            weights = mask.squeeze(1).to(regions.dtype)
            mean = torch.bmm(weights / weights.sum(-1, keepdim=True), regions)
        joint = self.question(question).tanh() * self.seen(self.dropout(mean)).tanh()
        return self.joint(self.dropout(joint)).tanh(), ()


def _attend(scores: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
    """From scores (images, questions, regions, glimpses) to a map (images * questions, regions) for each glimpse."""
    return masked_softmax(scores.transpose(2, 3), mask).flatten(0, 1).unbind(1)


def _sum_regions(weights: torch.Tensor, regions: torch.Tensor) -> torch.Tensor:
    """The sum that a map says, (images, questions, size): of the map that is returned, so that it has a gradient."""
    return torch.bmm(weights.unflatten(0, (regions.shape[0], -1)).to(regions.dtype), regions)


QUESTION_ATTENTION_CLASSES = {
    "stacked": StackedAttention,
    "glimpses": GlimpseAttention,
    "bilinear": BilinearAttention,
    "top_down": TopDownAttention,
    None: NoAttention,
}
