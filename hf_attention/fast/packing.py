"""Weights in the layout that products read fastest, for as long as they do not change."""

import contextlib
from collections.abc import Callable, Hashable, Iterator
from contextvars import ContextVar

import torch
from torch import nn

from ..models.recording import is_recording
from .reasons import compute_dtype, may_replace


# Rows that are multiplied with a matrix before it is laid out anew, which takes as long as some twenty single rows.
ROWS_BEFORE_PACKING = 24
# What `torch.compile` calls for frozen weights; PyTorch has no other door to it.
OPERATIONS = ("_reorder_linear_weight", "_linear_pointwise", "_is_mkldnn_bf16_supported")
HAS_PACKED_PRODUCTS = torch.backends.mkldnn.is_available() and all(
    hasattr(torch.ops.mkldnn, name) for name in OPERATIONS
)

_STORE: ContextVar[dict[Hashable, "_Matrix"] | None] = ContextVar("packed weights", default=None)


class PackedLinear:
    """
    \\( W x + b \\) with a copy of \\( W \\) that oneDNN has laid out.

    Args:
        weight (`torch.Tensor` of shape `(outputs, inputs)`): \\( W \\).
        bias (`torch.Tensor` of shape `(outputs,)`, *optional*): \\( b \\).
        rows (`int`): How many rows are multiplied at a time, for which the layout is chosen.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, rows: int):
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), rows)
        self.bias, self.dtype = bias, weight.dtype

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise(inputs, self.weight, self.bias, "none", [], "")


class _Matrix:
    """What is known of a matrix within the block."""

    def __init__(self, owner: nn.Module):
        self.owner = owner  # kept, so that no other module takes its `id`
        self.rows = 0
        self.packed: PackedLinear | None = None


@contextlib.contextmanager
def fixed_weights() -> Iterator[None]:
    """As [`~hf_attention.models.linear.fixed_weights`]. A block within a block is part of it."""
    if _STORE.get() is not None:
        yield
        return
    token = _STORE.set({})
    try:
        yield
    finally:
        _STORE.reset(token)


def apply_linear(layer: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """As [`~hf_attention.models.linear.apply_linear`]."""
    if is_recording() or type(layer) is not nn.Linear:
        return NotImplemented
    packed = packed_linear(layer, inputs, lambda: (layer.weight, layer.bias))
    return NotImplemented if packed is None else packed(inputs)


def packed_linear(
    owner: nn.Module,
    inputs: torch.Tensor,
    weight_and_bias: Callable[[], tuple[torch.Tensor, torch.Tensor | None]],
    part: Hashable = None,
) -> PackedLinear | None:
    """
    The packed product of a module, where it pays: in float32 and bfloat16, on processors that oneDNN knows.

    Args:
        owner (`nn.Module`): Whose weights they are.
        inputs (`torch.Tensor` of shape `(*batch, size)`): What is about to be multiplied, or part of it.
        weight_and_bias (`Callable`): Makes what is packed.
        part (`Hashable`, *optional*): Which of the module's products it is.

    Returns:
        [`PackedLinear`] or `None`: `None` outside of [`fixed_weights`], or where it does not pay.
    """
    if is_recording() or torch.is_grad_enabled():
        return None
    store = _STORE.get()
    if store is None:
        return None
    matrix = store.get((id(owner), part))
    if matrix is None:
        matrix = store[id(owner), part] = _Matrix(owner)
    if matrix.packed is None:
        matrix.rows += inputs.shape[:-1].numel()
        is_early = matrix.rows < ROWS_BEFORE_PACKING
        if is_early or not _is_packable(inputs) or not may_replace(owner, types=(type(owner),)):
            return None
        weight, bias = weight_and_bias()
        if weight.dtype != inputs.dtype or weight.device != inputs.device:
            return None
        matrix.packed = PackedLinear(weight, bias, inputs.shape[:-1].numel())
    return matrix.packed if inputs.dtype == matrix.packed.dtype else None


def _is_packable(inputs: torch.Tensor) -> bool:
    if inputs.device.type != "cpu" or compute_dtype(inputs) != inputs.dtype or not torch.backends.mkldnn.enabled:
        return False
    if inputs.dtype == torch.bfloat16:
        return HAS_PACKED_PRODUCTS and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return HAS_PACKED_PRODUCTS and inputs.dtype == torch.float32
