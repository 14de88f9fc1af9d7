"""The benchmark runs, and what it compares computes the same: both commands check that themselves and fail if not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


BENCHMARK = Path(__file__).parent.parent / "scripts" / "benchmark.py"
TINY = ["--repeats=1", "--threads=1", "--embedding=8", "--hidden=12", "--memory=10", "--vocabulary=50"]


@pytest.mark.parametrize(
    ("arguments", "num_times"),
    [
        (["decoder", "--batch=3", "--target=4", "--positions=5"], 5),
        (["generate", "--batches", "1", "2", "--beams=3", "--tokens=4", "--positions=5"], 8),
    ],
)
def test_benchmark_measures_equal_computations(arguments, num_times, tmp_path):
    path = tmp_path / "numbers.json"
    subprocess.run([sys.executable, BENCHMARK, *arguments, *TINY, f"--json={path}"], check=True)
    numbers = json.loads(path.read_text())
    assert len(numbers["milliseconds"]) == num_times
    for name, ratio in numbers["ratios"].items():
        numerator, denominator = name.split(" / ")
        assert ratio == pytest.approx(numbers["milliseconds"][numerator] / numbers["milliseconds"][denominator])
