"""The ways a query scores the positions of a memory."""

from typing import Any, ClassVar

import torch
from torch import nn

from .activation import tanh
from .linear import apply_linear
from .memory import ProjectedMemory


# By the names by which configurations choose, and these names; a subclass of `Attention` enters itself.
ATTENTION_CLASSES: dict[str, type["Attention"]] = {}
ATTENTION_TYPES: list[str | None] = [None]


def masked_softmax(scores: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """
    The softmax over the last dimension, in float32 at least, zero where the mask is False.

    Args:
        scores (`torch.Tensor` of shape `(*batch, positions)`): The scores.
        mask (`torch.BoolTensor` that broadcasts to their shape, *optional*): True where attention is allowed.
    """
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(-1)


class Attention(nn.Module):
    """
    Base of the scoring functions: `weights = softmax(score(query, keys))`, `context = weights · values`.

    A subclass says how a memory's keys are made (`keys`) and scored (`score`), and in its class statement by which
    `attention_type` a configuration chooses it, as in `class MyAttention(Attention, attention_type="mine")`.
    """

    takes_coverage: ClassVar[bool] = False
    takes_heads: ClassVar[bool] = False

    def __init_subclass__(cls, attention_type: str | None = None, **kwargs):
        super().__init_subclass__(**kwargs)
        if attention_type is not None:
            known = ATTENTION_CLASSES.get(attention_type)
            if known is None:
                ATTENTION_TYPES.insert(-1, attention_type)
            elif (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
                raise ValueError(f"`attention_type={attention_type!r}` is the name of {known.__qualname__} already.")
            ATTENTION_CLASSES[attention_type] = cls

    def __init__(self, config):
        super().__init__()
        self.config = config

    @classmethod
    def check(cls, config: Any) -> None:
        """
        Checks what this attention needs of a configuration.

        Args:
            config ([`AttentionDecoderConfig`]): The configuration.

        Raises:
            ValueError: Where it has not got it.
        """

    def project(self, memory: torch.Tensor, memory_mask: torch.Tensor | None = None) -> ProjectedMemory:
        """
        Computes what does not wait for a query.

        Args:
            memory (`torch.Tensor` of shape `(batch, positions, memory_size)`): What is attended to.
            memory_mask (`torch.Tensor` of shape `(batch, positions)`, *optional*): 1 where attention is allowed.

        Returns:
            [`ProjectedMemory`]
        """
        keys = self.keys(memory)
        # In the dtype of the keys, which may be autocast's: once, not at every step.
        return ProjectedMemory(
            keys, memory.to(keys.dtype), None if memory_mask is None else memory_mask.bool()[:, None]
        )

    def keys(self, memory: torch.Tensor) -> torch.Tensor:
        """What queries are compared with, of shape `(batch, positions, key_size)`."""
        return memory

    def score(self, query: torch.Tensor, keys: torch.Tensor, coverage: torch.Tensor | None = None) -> torch.Tensor:
        """
        Args:
            query (`torch.Tensor` of shape `(batch, queries, hidden_size)`): The states that look.
            keys (`torch.Tensor` of shape `(batch, positions, key_size)`): What they are compared with.
            coverage (`torch.Tensor` of shape `(batch, queries, positions)`, *optional*):
                The attention that each position has had so far.

        Returns:
            `torch.Tensor` of shape `(batch, queries, positions)`: The scores; here the dot products.
        """
        return torch.matmul(query, keys.mT)

    def forward(
        self, query: torch.Tensor, memory: ProjectedMemory, coverage: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Attends with several queries to each memory of the batch.

        Args:
            query (`torch.Tensor` of shape `(batch, queries, hidden_size)`): The states that look.
            memory ([`ProjectedMemory`]): What they look at.
            coverage (`torch.Tensor` of shape `(batch, queries, positions)`, *optional*):
                The attention that each position has had so far.

        Returns:
            `tuple`: the context, of shape `(batch, queries, memory_size)`, and the attention weights, of shape
            `(batch, heads, queries, positions)` and at least float32: each row sums to 1 over the unmasked positions
            and is zero on the masked ones.
        """
        weights = masked_softmax(self.score(query, memory.keys, coverage), memory.mask).unsqueeze(1)
        # Of what is returned, so that it has a gradient.
        return torch.matmul(weights.squeeze(1).to(memory.values.dtype), memory.values), weights

    def look(
        self, query: torch.Tensor, memory: ProjectedMemory, coverage: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Attends with as many queries in turn to each memory.

        Args:
            query (`torch.Tensor` of shape `(rows, hidden_size)`): The states; `rows` is a multiple of `batch`.
            memory ([`ProjectedMemory`]): What they look at. Rows of one memory share its keys.
            coverage (`torch.Tensor` of shape `(rows, positions)`, *optional*): The attention had so far.

        Returns:
            `tuple`: the context, of shape `(rows, memory_size)`, and the weights, of shape `(rows, heads, positions)`.
        """
        batch = memory.keys.shape[0]
        if coverage is not None:
            coverage = coverage.unflatten(0, (batch, -1))
        context, weights = self(query.unflatten(0, (batch, -1)), memory, coverage)
        return context.flatten(0, 1), weights.transpose(1, 2).flatten(0, 1)


class AdditiveAttention(Attention, attention_type="additive"):
    r"""
    \\( e_{tj} = v^\top \tanh(W_q q_t + W_k m_j + w_c c_{tj} + b) \\) (Bahdanau et al. 2015, section A.1.2; Xu et al.
    2015, eq. 4), with the coverage \\( c_{tj} = \sum_{t' < t} \alpha_{t'j} \\) where the configuration asks for it
    (See et al. 2017, eq. 11).
    """

    takes_coverage = True

    def __init__(self, config):
        super().__init__(config)
        self.query_proj = nn.Linear(config.hidden_size, config.attention_size, bias=False)
        self.key_proj = nn.Linear(config.memory_size, config.attention_size)
        self.score_proj = nn.Linear(config.attention_size, 1, bias=False)
        self.coverage_proj = nn.Linear(1, config.attention_size, bias=False) if config.coverage else None

    def keys(self, memory: torch.Tensor) -> torch.Tensor:
        return self.key_proj(memory)

    def score(self, query: torch.Tensor, keys: torch.Tensor, coverage: torch.Tensor | None = None) -> torch.Tensor:
        features = keys.unsqueeze(1) + apply_linear(self.query_proj, query).unsqueeze(2)
        if coverage is not None:
            features = features + self.coverage_proj(coverage.unsqueeze(-1).to(keys.dtype))
        return self.score_proj(tanh(features)).squeeze(-1)


class DotAttention(Attention, attention_type="dot"):
    r"""\\( e_{tj} = q_t^\top m_j \\) (Luong et al. 2015, eq. 8)."""

    @classmethod
    def check(cls, config: Any) -> None:
        if config.memory_size != config.hidden_size:
            raise ValueError(
                "`attention_type='dot'` multiplies state and memory: `memory_size` and `hidden_size` must be equal, "
                f"got {config.memory_size} and {config.hidden_size}. `attention_type='general'` has no such limit."
            )


class GeneralAttention(Attention, attention_type="general"):
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

    takes_heads = True

    def __init__(self, config):
        super().__init__(config)
        self.num_heads = config.num_attention_heads
        self.scale = (config.attention_size // config.num_attention_heads) ** -0.5
        self.query_proj = nn.Linear(config.hidden_size, config.attention_size)
        self.key_proj = nn.Linear(config.memory_size, config.attention_size)
        self.value_proj = nn.Linear(config.memory_size, config.attention_size)
        self.output_proj = nn.Linear(config.attention_size, config.memory_size)

    @classmethod
    def check(cls, config: Any) -> None:
        if config.attention_size % config.num_attention_heads:
            raise ValueError(
                f"`attention_size` ({config.attention_size}) must be a multiple of `num_attention_heads` "
                f"({config.num_attention_heads})."
            )

    def project(self, memory: torch.Tensor, memory_mask: torch.Tensor | None = None) -> ProjectedMemory:
        mask = None if memory_mask is None else memory_mask.bool()[:, None, None]
        return ProjectedMemory(self.key_proj(memory), self.value_proj(memory), mask)

    def split_heads(self, tensor: torch.Tensor) -> torch.Tensor:
        """From `(batch, positions, attention_size)` to `(batch, heads, positions, attention_size / heads)`."""
        return tensor.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def forward(
        self, query: torch.Tensor, memory: ProjectedMemory, coverage: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        query = self.split_heads(apply_linear(self.query_proj, query) * self.scale)
        weights = masked_softmax(torch.matmul(query, self.split_heads(memory.keys).mT), memory.mask)
        context = torch.matmul(weights.to(memory.values.dtype), self.split_heads(memory.values))
        return apply_linear(self.output_proj, context.transpose(1, 2).flatten(-2)), weights
