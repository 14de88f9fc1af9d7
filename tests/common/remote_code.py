"""Python where this package is not installed: the code that a checkpoint carries must do."""

import functools
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import types
from collections.abc import Mapping
from pathlib import Path


# A process that cannot import this package, and has imported what the sources that it is given need, which takes
# seconds. To each it gives a copy of itself, so that what one has imported is not there for the next. It reads
# [source, folder, arguments], and answers with how the copy ended.
SERVER = """
import json, os, signal, sys


class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "hf_attention":
            raise ModuleNotFoundError("There is no hf_attention here.")


sys.meta_path.insert(0, Refuse())

import torch, transformers.generation
from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer, pipeline

for line in sys.stdin:
    copy = os.fork()
    if copy == 0:
        break
    print(os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]), flush=True)
else:
    sys.exit()

source, folder, arguments = json.loads(line)
os.chdir(folder)
for descriptor, name in enumerate(("stdout", "stderr"), 1):
    os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), descriptor)
signal.alarm(300)
sys.argv = ["-c", *arguments]
exec(compile(source, "without the package", "exec"), {"__name__": "__main__", "sys": sys})
assert not any(name.split(".")[0] == "hf_attention" for name in sys.modules)
"""


@functools.cache
def _server(**settings: str) -> subprocess.Popen:
    """It ends with this process, which holds the other end of what it reads."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    # Isolated: neither the working folder nor the environment adds to what can be imported.
    command = [sys.executable, "-I", "-c", SERVER]
    return subprocess.Popen(
        command, env=environment | settings, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


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
    server = _server(**{"HF_HUB_OFFLINE": "1", **settings})
    server.stdin.write(json.dumps([source, str(out), list(map(str, arguments))]) + "\n")
    server.stdin.flush()
    code = server.stdout.readline()
    assert code == "0\n", (code, (out / "stderr").read_text())
    return (out / "stdout").read_text()
