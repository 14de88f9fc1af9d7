import pytest
import torch
from torch.testing import assert_close

from hf_attention.fast import products


@pytest.mark.parametrize("size", [1, 31, 32, 33])
@pytest.mark.parametrize("more", [0, 1])
def test_aligned_rows(size: int, more: int):
    tensor = torch.randn(2, 3, size)
    copy = products.align(tensor, torch.bfloat16, more)
    assert_close(copy, torch.nn.functional.pad(tensor, (0, more)).bfloat16())
    assert all(stride % 32 == 0 for stride in copy.stride()[:-1])


def test_what_lies_between_aligned_rows_does_not_reach_products(monkeypatch):
    """As a processor with AMX computes them, it would: an uninitialised NaN."""
    new_empty = torch.Tensor.new_empty
    monkeypatch.setattr(torch.Tensor, "new_empty", lambda *args, **kwargs: new_empty(*args, **kwargs).fill_(torch.nan))
    left = products.align(torch.randn(32, 650), torch.bfloat16)
    assert (left @ torch.randn(650, 64).bfloat16()).isfinite().all()
    assert left.as_strided((32, 672), (672, 1))[:, 650:].eq(0).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
@pytest.mark.parametrize("sizes", [(3, 5), (5, 3)])
def test_transposed_product(dtype: torch.dtype, batch: tuple[int, ...], sizes: tuple[int, int]):
    left, right = (torch.randint(-4, 5, (*batch, 7, size)).to(dtype) for size in sizes)  # exact in bfloat16
    expected = (left.double().mT @ right.double()).to(dtype)
    assert_close(products.transposed_product(left, right), expected, rtol=0, atol=0)
