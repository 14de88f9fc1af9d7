"""The recurrent state as a transformers cache."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from transformers.cache_utils import Cache

from .memory import ProjectedMemory
from .versions import CacheLayer, LayeredCache


class DecoderState(NamedTuple):
    """
    What one step of the decoder hands to the next. Every tensor is batch first.

    Args:
        hidden (`tuple` of `torch.Tensor` of shape `(batch, hidden_size)`): The output of each layer.
        cell (`tuple` of `torch.Tensor` of shape `(batch, hidden_size)`): The cell of each LSTM layer; empty for GRUs.
        readout (`torch.Tensor` of shape `(batch, readout_size)`, *optional*): For input feeding.
        coverage (`torch.Tensor` of shape `(batch, positions)`, *optional*): The attention spent on each position.
        past ([`ProjectedMemory`], *optional*): The last states, where the decoder attends to its own past.
    """

    hidden: tuple[torch.Tensor, ...]
    cell: tuple[torch.Tensor, ...] = ()
    readout: torch.Tensor | None = None
    coverage: torch.Tensor | None = None
    past: ProjectedMemory | None = None

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> "DecoderState":
        """Applies `function` to every tensor."""
        return DecoderState(
            tuple(function(tensor) for tensor in self.hidden),
            tuple(function(tensor) for tensor in self.cell),
            None if self.readout is None else function(self.readout),
            None if self.coverage is None else function(self.coverage),
            None if self.past is None else self.past.map(function),
        )

    def where(self, condition: torch.Tensor, other: "DecoderState") -> "DecoderState":
        """
        This state in the rows where `condition`, a boolean tensor of shape `(batch,)`, holds, and `other` elsewhere.
        """

        def choose(new, old):
            return None if new is None else torch.where(condition.view(-1, *[1] * (new.ndim - 1)), new, old)

        return DecoderState(
            tuple(map(choose, self.hidden, other.hidden)),
            tuple(map(choose, self.cell, other.cell)),
            choose(self.readout, other.readout),
            choose(self.coverage, other.coverage),
            None if self.past is None else ProjectedMemory(*map(choose, self.past, other.past)),
        )


def check_cache(cache: Cache | None, rows: int | None = None) -> None:
    """
    Args:
        cache (`Cache`, *optional*): What a caller passes as `cache`.
        rows (`int`, *optional*): The number of sequences that are to go on from it, where that is known.

    Raises:
        ValueError: Where it is another cache than a [`RecurrentCache`], or of another number of sequences.
    """
    # Not by its class: a checkpoint's own code has another of the same name.
    if cache is not None and not hasattr(cache, "record_past"):
        raise ValueError(
            f"`cache` (`past_key_values`) must be a `RecurrentCache`, got {type(cache).__name__}: the state of a "
            "recurrent decoder is no list of keys and values."
        )
    if cache is None or rows is None or cache.state is None:
        return
    cached = cache.state.hidden[0].shape[0]
    if cached != rows:
        raise ValueError(
            f"The cache is of {cached} sequences, and the tokens are of {rows}: for several beams or sequences of "
            "each, call the cache's `batch_repeat_interleave` before."
        )


class RecurrentCacheLayer(CacheLayer):
    """
    The state of all recurrent layers. Its size does not grow with the number of tokens.

    Generation that takes tokens back (assisted decoding) calls `activate_past_recording`; from then on the state after
    every token is kept until `crop` says how many tokens were refused.

    Args:
        static (`bool`, *optional*, defaults to `False`):
            Whether all that changes from step to step is in tensors, so that one compiled program is every step.
    """

    supports_early_init = False

    def __init__(self, static: bool = False):
        super().__init__()
        self.is_compileable = static
        self.state: DecoderState | None = None
        # A number would be a part of what is compiled: every step would be another program.
        self.num_tokens = torch.tensor(0) if static else 0
        self.record_past = False
        self.zero_keeps_none = False
        self.past_states: list[DecoderState | None] = [None]  # None: before the first token

    @property
    def is_croppable(self) -> bool:
        return self.record_past

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """There is nothing to allocate: the first update brings the state."""

    def update(self, states: list[DecoderState], num_tokens: int) -> None:
        """
        Takes over the state after new tokens.

        Args:
            states (`list[DecoderState]`):
                The state after each new token while past states are recorded, else the last.
            num_tokens (`int`): The number of new tokens.
        """
        if self.record_past:
            self.past_states.extend(states)
        self.state = states[-1]
        if self.is_compileable:
            self.num_tokens = self.num_tokens.to(self.state.hidden[0].device)
        self.num_tokens = self.num_tokens + num_tokens
        self.is_initialized = True

    def get_seq_length(self) -> int:
        return int(self.num_tokens)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        return -1

    @property
    def batch_size(self) -> int:
        return -1 if self.state is None else self.state.hidden[0].shape[0]

    def activate_past_recording(self) -> None:
        self.record_past = True
        self.past_states = [self.state]

    def crop(self, length: int) -> None:
        """
        Takes tokens back, and forgets the states before the one that is left.

        Args:
            length (`int`):
                Zero or less: minus the number of tokens to take back. More: the number of tokens to keep; with
                `zero_keeps_none` zero, too.

        Raises:
            RuntimeError: Where past states were not recorded, or not so many.
        """
        keeps = length > 0 or (length == 0 and self.zero_keeps_none)
        to_remove = max(self.num_tokens - length, 0) if keeps else -length
        if not self.record_past or to_remove >= len(self.past_states):
            raise RuntimeError(
                f"Cannot take back {to_remove} tokens of the recurrent state: call `activate_past_recording` first, "
                f"and take back fewer tokens than states were recorded ({len(self.past_states)})."
            )
        self.state = self.past_states[len(self.past_states) - 1 - to_remove]
        self.past_states = [self.state]
        self.num_tokens -= to_remove

    def reset(self) -> None:
        self.state = None
        self.num_tokens = 0 * self.num_tokens
        self.past_states = [None]
        self.is_initialized = False

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Applies `function` to every tensor of the state and of those that are recorded."""
        self.state, *self.past_states = [
            None if state is None else state.map(function) for state in (self.state, *self.past_states)
        ]

    def copy(self) -> None:
        """Copies every tensor: what a CUDA graph gives is overwritten when it runs again."""
        self.map(torch.clone)
        if self.is_compileable:
            self.num_tokens = self.num_tokens.clone()

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        self.map(lambda tensor: tensor.index_select(0, beam_idx.to(tensor.device)))

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        self.map(lambda tensor: tensor[indices])

    def batch_repeat_interleave(self, repeats: int) -> None:
        self.map(lambda tensor: tensor.repeat_interleave(repeats, dim=0))

    def offload(self) -> None:
        if self.state is not None:
            self.device = self.state.hidden[0].device
            self.map(lambda tensor: tensor.to("cpu", non_blocking=True))

    def prefetch(self) -> None:
        if self.state is not None:
            self.map(lambda tensor: tensor.to(self.device, non_blocking=True))


class RecurrentCache(LayeredCache):
    """
    The cache of an attentive decoder: one [`RecurrentCacheLayer`], and the projected memory beside it.

    The memory does not change from token to token, and all beams of an item look at the same one: reordering beams
    leaves it alone, and so does repeating rows. A cache belongs to the memory that it was first used with.

    Args:
        static (`bool`, *optional*, defaults to `False`): As of [`RecurrentCacheLayer`].
    """

    def __init__(self, static: bool = False):
        super().__init__(layers=[RecurrentCacheLayer(static)])
        self.memory: ProjectedMemory | None = None
        self.is_callers = True  # not what a call of generate() has made for itself

    @property
    def state(self) -> DecoderState | None:
        """The state after the last token, `None` before the first."""
        return self.layers[0].state

    @property
    def record_past(self) -> bool:
        """Whether the state after every token is asked for."""
        return self.layers[0].record_past

    def update(self, states: list[DecoderState], num_tokens: int) -> None:
        """See [`RecurrentCacheLayer.update`]."""
        self.layers[0].update(states, num_tokens)

    def detach(self) -> None:
        """Lets no gradient go back beyond the state."""
        self.layers[0].map(torch.Tensor.detach)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        num_rows = self.layers[0].batch_size
        rows = torch.arange(num_rows, device=indices.device)[indices]
        super().batch_select_indices(indices)
        if self.memory is None:
            return
        shared = num_rows // len(self.memory.keys)
        memories = rows // shared
        if len(memories) % shared == 0:
            groups = memories.view(-1, shared)
            if (groups == groups[:, :1]).all():  # what shared a memory has stayed together, and goes on sharing it
                memories = groups[:, 0]
        self.memory = self.memory.map(lambda tensor: tensor[memories])

    def reset(self) -> None:
        super().reset()
        self.memory = None
