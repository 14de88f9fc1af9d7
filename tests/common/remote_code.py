"""Python where this package is not installed: the code that a checkpoint carries must do."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


REFUSE = """
import sys


class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "hf_attention":
            raise ModuleNotFoundError("There is no hf_attention here.")


sys.meta_path.insert(0, Refuse())
"""
CHECK = """
assert not any(name.split(".")[0] == "hf_attention" for name in sys.modules)
"""


def run_without_the_package(
    source: str, out: Path, *arguments: str | Path, settings: Mapping[str, str] | None = None
) -> str:
    """
    Runs Python in a process of its own that cannot import this package.

    Args:
        source: The code; `sys.argv[1:]` are the arguments.
        out: The working folder, where also the caches go. It is made.
        arguments: For the code.
        settings: Variables of the environment.

    Returns:
        What it printed.
    """
    out.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(out / "home"), "HF_MODULES_CACHE": str(out / "modules")}
    environment |= settings or {}
    result = subprocess.run(
        # Isolated: neither the working folder nor the environment adds to what can be imported.
        [sys.executable, "-I", "-c", REFUSE + source + CHECK, *map(str, arguments)],
        cwd=out,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout
