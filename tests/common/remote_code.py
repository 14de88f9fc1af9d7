"""Python where this package is not installed: the code that a checkpoint carries must do."""

import importlib
import os
import subprocess
import sys
import tempfile
import types
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


def import_source(name: str, source: str) -> types.ModuleType:
    """A module of a user's own, in a file in a folder of its own."""
    folder = tempfile.mkdtemp(dir=os.environ["HF_MODULES_CACHE"])  # removed at the end
    Path(folder, f"{name}.py").write_text(source)
    sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(folder)


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
