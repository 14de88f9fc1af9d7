from pathlib import Path

import pytest
import torch
from common.runs import names, scores
from common.scripts import log
from common.tiny_run import tiny_run
from safetensors.torch import load_file


@pytest.mark.parametrize(("by", "losses", "epochs"), [("last", [1, 2, 3, 4], [3, 4]), ("best", [3, 1, 4, 2], [2, 4])])
def test_epochs_are_averaged(tmp_path: Path, by: str, losses: list[float], epochs: list[int]) -> None:
    options = {"num_train_epochs": 4, "average_by": by, "save_total_limit": 9}
    better, worse = tmp_path / "better", tmp_path / "worse"
    result = tiny_run(better, average_checkpoints=2, evaluate=scores(*losses, 0.5), **options)
    assert (result.state.averaged_epochs, result.state.best_metrics) == (epochs, {"loss": 0.5})
    assert names(better / "candidates") == [f"epoch-{epoch}.safetensors" for epoch in epochs]
    assert log(better)[-1]["average_of_epochs"] == epochs
    evaluated = [load_file(better / f"checkpoint-{5 * epoch}" / "averaged.safetensors") for epoch in epochs]
    mean = load_file(better / "best" / "model.safetensors")
    for name in mean:
        torch.testing.assert_close(mean[name], (evaluated[0][name] + evaluated[1][name]) / 2, rtol=1e-6, atol=1e-7)

    # A mean that is no better is not kept.
    result = tiny_run(worse, average_checkpoints=2, evaluate=scores(*losses, 1.5), **options)
    assert (result.state.averaged_epochs, result.state.best_metrics) == ([], {"loss": 1})
    best = load_file(worse / "best" / "model.safetensors")
    epoch = losses.index(1) + 1
    single = load_file(worse / f"checkpoint-{5 * epoch}" / "averaged.safetensors")
    assert all(torch.equal(best[name], single[name]) for name in best)
