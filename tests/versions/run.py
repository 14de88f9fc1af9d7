"""
Tries the package on every minor of transformers that it is for.

    python tests/versions/run.py                               # what `make test-versions` runs; hours
    python tests/versions/run.py --suite 5.0 5.7               # the quick suite on these minors, and no checkpoints
    python tests/versions/run.py --checkpoints 5.3 5.24        # checkpoints between these, and no suite

The quick suite runs on each minor. Checkpoints saved under the oldest, 5.23 and the newest are loaded under each of
the others, with the package and, by the code that they carry, without it: they must say the same. The tables are
printed. Each version gets an environment in `.versions/`; torch is the one of constraints.txt.
"""

import argparse
import itertools
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path


ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
ENVIRONMENTS = ROOT / ".versions"
sys.path.insert(0, str(ROOT))

from hf_attention.models.versions import NEWEST, OLDEST  # noqa: E402


TORCH = re.search("^torch==.*$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[0]
QUIET = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "OMP_NUM_THREADS": "1"}


def run(*command: str | Path, **settings: str) -> subprocess.CompletedProcess:
    """A command's result, its output kept."""
    return subprocess.run([*map(str, command)], cwd=ROOT, env=os.environ | settings, capture_output=True, text=True)


def python_of(minor: str, name: str) -> Path:
    """The interpreter of an environment with the last release of a minor; it is made, or brought to that minor."""
    python = ENVIRONMENTS / name / "bin" / "python"
    if not python.exists():
        run(sys.executable, "-m", "venv", ENVIRONMENTS / name).check_returncode()
    done = run(python, "-m", "pip", "install", TORCH, f"transformers=={minor}.*", "-e", ".[dev]")
    if done.returncode:
        raise SystemExit(f"transformers {minor} cannot be installed:\n{done.stderr[-3000:]}")
    return python


def try_suite(minor: str) -> tuple[str, bool]:
    """The last line of the quick suite on a minor, and whether it passed."""
    python, start = python_of(minor, "suite"), time.time()
    done = run(python, "-m", "pytest", "-q", "-n", "2", "--dist", "worksteal", "-m", "not slow", **QUIET)
    (ENVIRONMENTS / f"{minor}.log").write_text(done.stdout + done.stderr)
    summary = re.sub(r"\d+ warnings?,? ?|in [\d.]+s.*|=", "", done.stdout.strip().split("\n")[-1]).strip(" ,")
    return f"{summary} ({time.time() - start:.0f} s)", done.returncode == 0


def try_checkpoints(minors: list[str]) -> tuple[list[list[str]], bool]:
    """A row for each minor that checkpoints were saved under: how many models say the same under each other."""
    pythons = {minor: python_of(minor, minor) for minor in minors}
    folders = {minor: ENVIRONMENTS / "checkpoints" / minor for minor in minors}
    for minor, folder in folders.items():
        shutil.rmtree(folder, ignore_errors=True)
        saved = run(pythons[minor], HERE / "checkpoints.py", "save", folder, **QUIET)
        if saved.returncode:
            raise SystemExit(f"Under transformers {minor} nothing can be saved:\n{saved.stderr[-3000:]}")
    rows, fine = [], True
    for saved, loaded in itertools.permutations(minors, 2):
        cells = []
        for option in ([], ["--own_code"]):
            modules = ENVIRONMENTS / "modules"
            shutil.rmtree(modules, ignore_errors=True)
            command = (pythons[loaded], HERE / "checkpoints.py", "check", folders[saved], *option)
            done = run(*command, HF_MODULES_CACHE=str(modules), **QUIET)
            equal = [line for line in done.stdout.split("\n") if (folders[saved] / line).is_dir() and line]
            cells.append(", ".join(equal) if done.returncode == 0 else f"FAILED: {done.stderr.strip()[-1500:]}")
            fine &= done.returncode == 0
        rows.append([saved, loaded, *cells])
    return rows, fine


def print_table(*rows: list[str]) -> None:
    for row in rows:
        print("|", " | ".join(row), "|", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    major, last = NEWEST.split(".")
    minors = [f"{major}.{number}" for number in range(int(OLDEST.split(".")[1]), int(last) + 1)]
    parser.add_argument("--suite", nargs="+", default=[], metavar="MINOR", help="Minors to run the suite on.")
    parser.add_argument("--checkpoints", nargs="+", default=[], metavar="MINOR", help="Minors that they go between.")
    arguments = parser.parse_args()
    if len(arguments.checkpoints) == 1:
        parser.error("checkpoints go between two minors or more.")
    if not (arguments.suite or arguments.checkpoints):
        arguments.suite, arguments.checkpoints = minors, [OLDEST, "5.23", NEWEST]
    ENVIRONMENTS.mkdir(exist_ok=True)
    fine = True
    if arguments.checkpoints:
        rows, fine = try_checkpoints(arguments.checkpoints)
        print_table(["saved under", "loaded under", "with the package", "by its own code"], ["---"] * 4, *rows)
    if arguments.suite:
        print_table(["transformers", "the quick suite"], ["---"] * 2)
    for minor in arguments.suite:
        result, passed = try_suite(minor)
        print_table([minor, result])
        fine &= passed
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
