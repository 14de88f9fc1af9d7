import pytest
import torch

from hf_attention.fast.dropout import dropout_mask as mask_of_bits
from hf_attention.models.dropout import Dropout


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_share_and_scale(p: float, dtype: torch.dtype):
    output = Dropout(p)(torch.ones(100, 1001, dtype=dtype))
    kept = output[output != 0]
    assert len(kept) / output.numel() == pytest.approx(1 - p, abs=0.005)
    assert len(kept.unique()) <= 1
    if p < 1:
        assert kept[0].item() == pytest.approx(1 / (1 - p), rel=0.01)
    assert torch.equal(Dropout(p).eval()(output), output)


def test_elements_are_dropped_independently():
    """Four masks are drawn with one number: no one says anything of the next."""
    dropped = (Dropout(0.5)(torch.ones(400_000)) == 0).double()
    for distance in range(1, 9):
        together = (dropped[:-distance] * dropped[distance:]).mean().item()
        assert together == pytest.approx(0.25, abs=0.005)


def test_a_seed_gives_the_same_mask():
    masks = []
    for _ in range(2):
        torch.manual_seed(1)
        masks.append(Dropout(0.3)(torch.ones(7, 5)))
    assert torch.equal(*masks)


def test_variational_masks_are_the_same_at_all_steps():
    dropout = Dropout(0.5, variational=True)
    output = dropout(torch.ones(3, 4, 50))
    assert torch.equal(output, output[:, :1].expand_as(output))
    step = dropout.by_step(torch.ones(3, 50))
    assert torch.equal(step(torch.ones(3, 50)), step(torch.ones(3, 50)))


def test_it_is_compiled_as_a_whole():
    dropout = Dropout(0.5)
    output = torch.compile(dropout, fullgraph=True, backend="aot_eager")(torch.ones(100))
    assert set(output.tolist()) == {0.0, 2.0}


def test_what_drops_nothing_is_not_active():
    assert not Dropout(0.0).is_active


def test_a_mask_of_bits_drops_nothing_where_too_little_is_asked_for():
    assert torch.equal(mask_of_bits((3, 5), 1e-6, torch.ones(1)), torch.ones(3, 5))
