"""A memory, prepared to be attended to."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch.nn import functional as F


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
