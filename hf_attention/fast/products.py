"""Matrix products in the layouts that processors compute fast."""

import torch


# Elements at whose multiples rows begin: 64 bytes in half precision.
ALIGNMENT = 32


def align(tensor: torch.Tensor, dtype: torch.dtype, more: int = 0) -> torch.Tensor:
    """
    A copy whose rows begin at multiples of 32 elements in memory: products with rows of odd lengths take up to twice
    the time.

    Args:
        tensor (`torch.Tensor` of shape `(*batch, size)`): What is copied.
        dtype (`torch.dtype`): That of the copy.
        more (`int`, *optional*, defaults to 0): Zeros appended to each row.

    Returns:
        `torch.Tensor` of shape `(*batch, size + more)`
    """
    *batch, size = tensor.shape
    rows = new_aligned(tensor, (*batch, size + more), dtype)
    rows[..., :size] = tensor
    rows[..., size:] = 0
    return rows


def new_aligned(like: torch.Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """As [`align`], with nothing in it yet, on the device of `like`."""
    *batch, size = shape
    width = -(-size // ALIGNMENT) * ALIGNMENT
    rows = like.new_empty(*batch, width, dtype=dtype)
    rows[..., size:] = 0  # products read what lies between the rows, and multiply it with zeros: no NaN may be there
    return rows[..., :size]


def transposed_product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """
    `left.T @ right`, such as a matrix's gradient: of what came back and what went in.

    In half precision on a processor, the smaller one is turned round by a copy: a product of a transposed view takes
    up to twice the time.

    Args:
        left (`torch.Tensor` of shape `(*batch, rows, outputs)`): The first factor, not yet transposed.
        right (`torch.Tensor` of shape `(*batch, rows, inputs)`): The second, of the same dtype.

    Returns:
        `torch.Tensor` of shape `(*batch, outputs, inputs)`
    """
    if left.dtype not in (torch.bfloat16, torch.float16) or left.device.type != "cpu":
        return torch.matmul(left.mT, right)
    if left.numel() > right.numel():
        return torch.matmul(right.mT.contiguous(), left).mT.contiguous()
    return torch.matmul(left.mT.contiguous(), right)
