"""Matrix products in the layouts that processors compute fast."""

import torch


# Elements at whose multiples rows begin: 64 bytes in half precision.
ALIGNMENT = 32
# Elements of a matrix from which its product takes longer transposed than a copy and then the product.
LARGE = 2**21


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

    Args:
        left (`torch.Tensor` of shape `(*batch, rows, outputs)`): The first factor, not yet transposed.
        right (`torch.Tensor` of shape `(*batch, rows, inputs)`): The second, of the same dtype.

    Returns:
        `torch.Tensor` of shape `(*batch, outputs, inputs)`
    """
    is_cheap = left.numel() <= right.numel()
    return torch.matmul(transpose(left, 0 if is_cheap else None), right)


def transpose(tensor: torch.Tensor, large: int | None = None) -> torch.Tensor:
    """
    The transposed matrices as a first factor: a copy of large ones in half precision on a processor, whose products
    take up to twice the time with a view.

    Args:
        tensor (`torch.Tensor` of shape `(*batch, rows, columns)`): The matrices.
        large (`int`, *optional*): Elements from which a copy pays; `LARGE` of them where not given.
    """
    is_half = tensor.dtype in (torch.bfloat16, torch.float16) and tensor.device.type == "cpu"
    large = LARGE if large is None else large
    return tensor.mT.contiguous() if is_half and tensor.numel() >= large else tensor.mT
