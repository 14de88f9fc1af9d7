"""The ways a query scores the positions of a memory."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from .plain import is_plain
from .steps import StepProduct, StepScores


def compute_dtype(tensor: torch.Tensor) -> torch.dtype:
    """The dtype in which a product with the tensor is computed: autocast's, which leaves float64 alone, or its own."""
    device_type = tensor.device.type
    has_autocast = torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type)
    if tensor.dtype == torch.float64 or not has_autocast:
        return tensor.dtype
    return torch.get_autocast_dtype(device_type)


class ProjectedMemory(NamedTuple):
    """
    What attention needs of a memory, computed once for all queries.

    Args:
        keys (`torch.Tensor` of shape `(batch, positions, key_size)`): What queries are compared with.
        values (`torch.Tensor` of shape `(batch, positions, value_size)`): What is summed into the context.
        mask (`torch.BoolTensor` of shape `(batch, 1, positions)`, with heads `(batch, 1, 1, positions)`, *optional*):
            True where attention is allowed.
    """

    keys: torch.Tensor
    values: torch.Tensor
    mask: torch.Tensor | None

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> "ProjectedMemory":
        """Applies `function` to every tensor."""
        return ProjectedMemory(*(None if tensor is None else function(tensor) for tensor in self))

    def followed_by(self, new: "ProjectedMemory") -> "ProjectedMemory":
        """This memory's positions and then `new`'s. Both have masks."""
        return ProjectedMemory(
            torch.cat([self.keys, new.keys], 1),
            torch.cat([self.values, new.values], 1),
            torch.cat([self.mask, new.mask], -1),
        )

    def last(self, size: int) -> "ProjectedMemory":
        """Its last positions; where there are fewer, masked ones before them. It has a mask."""
        missing = size - self.keys.shape[1]
        if missing > 0:
            return ProjectedMemory(
                F.pad(self.keys, (0, 0, missing, 0)),
                F.pad(self.values, (0, 0, missing, 0)),
                F.pad(self.mask, (missing, 0)),
            )
        return ProjectedMemory(self.keys[:, -size:], self.values[:, -size:], self.mask[..., -size:])

    def windows(self, size: int) -> "ProjectedMemory":
        """
        For each position behind the first `size`, those `size` before it, as memories of their own: `batch *
        (positions - size)` of them. It has a mask.
        """
        return ProjectedMemory(
            self.keys[:, :-1].unfold(1, size, 1).transpose(2, 3).flatten(0, 1),
            self.values[:, :-1].unfold(1, size, 1).transpose(2, 3).flatten(0, 1),
            self.mask[..., :-1].unfold(-1, size, 1).movedim(-2, 1).flatten(0, 1),
        )


class AttentionSteps(NamedTuple):
    """
    What the steps of a recurrence share that look at one memory.

    Args:
        sum_values ([`StepProduct`]): The sums of its values, by their weights.
        multiply_keys ([`StepProduct`], *optional*): The products of its keys and a query, where they are the scores.
        project_query ([`StepProduct`], *optional*): The projection of a query, where there is one.
        score ([`StepScores`], *optional*): The scores of a projected query, where the attention is additive.
    """

    sum_values: StepProduct
    multiply_keys: StepProduct | None = None
    project_query: StepProduct | None = None
    score: StepScores | None = None


# By the names that `attention_type` has for them.
ATTENTION_CLASSES: dict[str, type["Attention"]] = {}


class Attention(nn.Module):
    """
    Base of the scoring functions: `weights = softmax(score(query, keys))`, `context = weights · values`.

    Subclasses say how a memory is projected (`project`) and how it is scored (`score`). With `class MyAttention(
    Attention, attention_type="mine")` configurations know one by that name.
    """

    def __init_subclass__(cls, attention_type: str | None = None, **kwargs):
        super().__init_subclass__(**kwargs)
        if attention_type is not None:
            ATTENTION_CLASSES[attention_type] = cls

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.query_proj: nn.Linear | None = None

    def project(self, memory: torch.Tensor, memory_mask: torch.Tensor | None = None) -> ProjectedMemory:
        """
        Computes what does not wait for a query.

        Args:
            memory (`torch.Tensor` of shape `(batch, positions, memory_size)`): What is attended to.
            memory_mask (`torch.Tensor` of shape `(batch, positions)`, *optional*): 1 where attention is allowed.

        Returns:
            [`ProjectedMemory`]
        """
        mask = None if memory_mask is None else memory_mask.bool().unsqueeze(1)
        memory = memory.to(compute_dtype(memory))  # once, not by autocast at every step
        return ProjectedMemory(self.keys(memory), memory, mask)

    def keys(self, memory: torch.Tensor) -> torch.Tensor:
        return memory

    def score(
        self,
        query: torch.Tensor,
        keys: torch.Tensor,
        coverage: torch.Tensor | None,
        shared: AttentionSteps | None,
    ) -> torch.Tensor:
        raise NotImplementedError

    def values(self, memory: ProjectedMemory) -> torch.Tensor:
        """What the weights multiply, of shape `(batch, positions, size)` or `(batch, heads, positions, size)`."""
        return memory.values

    def over_steps(self, memory: ProjectedMemory, queries: int, steps: int) -> AttentionSteps:
        """
        For training: what the steps of a recurrence share.

        Args:
            memory ([`ProjectedMemory`]): What is looked at.
            queries (`int`): Queries to each memory of the batch, at each step.
            steps (`int`): Number of steps.
        """
        project_query = None
        if self.query_proj is not None and is_plain(self.query_proj, nn.Linear):
            weight, bias = self.query_proj.weight, self.query_proj.bias
            dtype = compute_dtype(weight)
            bias = weight.new_zeros(len(weight), dtype=dtype) if bias is None else bias.to(dtype)
            bases = bias.expand(len(memory.keys) * queries, steps, -1)
            project_query = StepProduct(bases, weight.to(dtype).t())
        return AttentionSteps(_batched_product(self.values(memory), queries, steps), project_query=project_query)

    def project_query(self, query: torch.Tensor, shared: AttentionSteps | None) -> torch.Tensor:
        """The projection of queries `(batch, queries, hidden_size)`."""
        if shared is None or shared.project_query is None:
            return self.query_proj(query)
        return shared.project_query(query.flatten(0, 1)).unflatten(0, query.shape[:2])

    def forward(
        self,
        query: torch.Tensor,
        memory: ProjectedMemory,
        coverage: torch.Tensor | None = None,
        shared: AttentionSteps | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Attends with several queries to each memory of the batch.

        Args:
            query (`torch.Tensor` of shape `(batch, queries, hidden_size)`): The states that look.
            memory ([`ProjectedMemory`]): What they look at.
            coverage (`torch.Tensor` of shape `(batch, queries, positions)`, *optional*):
                The attention that each position has had so far.
            shared ([`AttentionSteps`], *optional*):
                Inside a recurrence, the memory's [`~Attention.over_steps`].

        Returns:
            `tuple`: the context, of shape `(batch, queries, memory_size)`, and the attention weights, of shape
            `(batch, heads, queries, positions)` and at least float32: each row sums to 1 over the unmasked positions
            and is zero on the masked ones.
        """
        weights = masked_softmax(self.score(query, memory.keys, coverage, shared), memory.mask)
        return self._sum(weights, memory, shared), weights.unsqueeze(1)

    def _sum(self, weights: torch.Tensor, memory: ProjectedMemory, shared: AttentionSteps | None) -> torch.Tensor:
        weights = weights.to(memory.values.dtype)
        return torch.matmul(weights, self.values(memory)) if shared is None else shared.sum_values(weights)


def _batched_product(matrices: torch.Tensor, queries: int, steps: int) -> StepProduct:
    """Products with matrices of their own for each memory, and each head."""
    *batch, _, outputs = matrices.shape
    matrices = matrices.contiguous()  # once, not at every step
    return StepProduct(matrices.new_zeros(()).expand(*batch, queries, steps, outputs), matrices)


def masked_softmax(scores: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(-1)


class AdditiveAttention(Attention, attention_type="additive"):
    r"""
    \\( e_{tj} = v^\top \tanh(W_q q_t + W_k m_j + w_c c_{tj} + b) \\) (Bahdanau et al. 2015, section A.1.2; Xu et al.
    2015, eq. 4), with the coverage \\( c_{tj} = \sum_{t' < t} \alpha_{t'j} \\) where the configuration asks for it
    (See et al. 2017, eq. 11).
    """

    def __init__(self, config):
        super().__init__(config)
        self.query_proj = nn.Linear(config.hidden_size, config.attention_size, bias=False)
        self.key_proj = nn.Linear(config.memory_size, config.attention_size)
        self.score_proj = nn.Linear(config.attention_size, 1, bias=False)
        self.coverage_proj = nn.Linear(1, config.attention_size, bias=False) if config.coverage else None

    def keys(self, memory: torch.Tensor) -> torch.Tensor:
        return self.key_proj(memory)

    def over_steps(self, memory: ProjectedMemory, queries: int, steps: int) -> AttentionSteps:
        shared = super().over_steps(memory, queries, steps)
        keys, weight = memory.keys, self.score_proj.weight.squeeze(0)
        is_alone = self.coverage_proj is None and is_plain(self.score_proj, nn.Linear)
        is_trained = keys.requires_grad or weight.requires_grad
        if is_alone and is_trained and keys.device.type == "cpu" and not torch.compiler.is_compiling():
            shared = shared._replace(score=StepScores(keys, weight, queries, steps))
        return shared

    def score(
        self,
        query: torch.Tensor,
        keys: torch.Tensor,
        coverage: torch.Tensor | None,
        shared: AttentionSteps | None,
    ) -> torch.Tensor:
        query = self.project_query(query, shared)
        if shared is not None and shared.score is not None:
            return shared.score(query)
        features = keys.unsqueeze(1) + query.unsqueeze(2)
        if coverage is not None:
            features = features + self.coverage_proj(coverage.unsqueeze(-1).to(keys.dtype))
        return self.score_proj(features.tanh_()).squeeze(-1)  # the largest tensor of a step: no second one of its size


class DotAttention(Attention, attention_type="dot"):
    r"""\\( e_{tj} = q_t^\top m_j \\) (Luong et al. 2015, eq. 8)."""

    def over_steps(self, memory: ProjectedMemory, queries: int, steps: int) -> AttentionSteps:
        shared = super().over_steps(memory, queries, steps)
        return shared._replace(multiply_keys=_batched_product(memory.keys.mT, queries, steps))

    def score(
        self,
        query: torch.Tensor,
        keys: torch.Tensor,
        coverage: torch.Tensor | None,
        shared: AttentionSteps | None,
    ) -> torch.Tensor:
        return torch.matmul(query, keys.mT) if shared is None else shared.multiply_keys(query)


class GeneralAttention(DotAttention, attention_type="general"):
    r"""\\( e_{tj} = q_t^\top W m_j \\) (Luong et al. 2015, eq. 8); \\( W m_j \\) is computed once."""

    def __init__(self, config):
        super().__init__(config)
        self.key_proj = nn.Linear(config.memory_size, config.hidden_size, bias=False)

    def keys(self, memory: torch.Tensor) -> torch.Tensor:
        return self.key_proj(memory)


class ScaledDotAttention(Attention, attention_type="scaled_dot"):
    r"""
    \\( \mathrm{softmax}(Q K^\top / \sqrt{d}) V \\) with heads (Vaswani et al. 2017, section 3.2). The output
    projection brings the context back to `memory_size`.
    """

    def __init__(self, config):
        super().__init__(config)
        self.num_heads = config.num_attention_heads
        self.scale = (config.attention_size // config.num_attention_heads) ** -0.5
        self.query_proj = nn.Linear(config.hidden_size, config.attention_size)
        self.key_proj = nn.Linear(config.memory_size, config.attention_size)
        self.value_proj = nn.Linear(config.memory_size, config.attention_size)
        self.output_proj = nn.Linear(config.attention_size, config.memory_size)

    def project(self, memory: torch.Tensor, memory_mask: torch.Tensor | None = None) -> ProjectedMemory:
        mask = None if memory_mask is None else memory_mask.bool()[:, None, None]
        return ProjectedMemory(self.key_proj(memory), self.value_proj(memory), mask)

    def _split_heads(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def values(self, memory: ProjectedMemory) -> torch.Tensor:
        return self._split_heads(memory.values)

    def over_steps(self, memory: ProjectedMemory, queries: int, steps: int) -> AttentionSteps:
        shared = super().over_steps(memory, queries, steps)
        keys = self._split_heads(memory.keys)
        return shared._replace(multiply_keys=_batched_product(keys.mT, queries, steps))

    def forward(
        self,
        query: torch.Tensor,
        memory: ProjectedMemory,
        coverage: torch.Tensor | None = None,
        shared: AttentionSteps | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        query = self._split_heads(self.project_query(query, shared) * self.scale)
        if shared is None:
            scores = torch.matmul(query, self._split_heads(memory.keys).mT)
        else:
            scores = shared.multiply_keys(query)
        weights = masked_softmax(scores, memory.mask)
        context = self._sum(weights, memory, shared).transpose(1, 2).flatten(-2)
        return self.output_proj(context), weights
