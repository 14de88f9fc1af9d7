"""Python where this package is not installed: the code that a checkpoint carries must do."""

import importlib
import os
import shutil
import sys
import tempfile
import types
from collections.abc import Mapping
from pathlib import Path

from .copies import run_copy


REFUSE = """
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
        out: The working folder. It is made.
        arguments: For the code.
        settings: Variables of the environment, as the folders of the caches, which are empty by default.

    Returns:
        What it printed.
    """
    out.mkdir()
    if settings is None:
        caches = Path(os.environ["HF_MODULES_CACHE"], "without_the_package")  # removed at the end
        shutil.rmtree(caches, ignore_errors=True)
        settings = {"HF_HOME": str(caches), "HF_MODULES_CACHE": str(caches / "modules")}
    done = run_copy(source + CHECK, out, *arguments, prepare=REFUSE, **{"HF_HUB_OFFLINE": "1", **settings})
    assert done.returncode == 0, done.stderr
    return done.stdout
