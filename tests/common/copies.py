"""Python in copies of a process that has imported torch and transformers, which takes seconds."""

import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path


# Reads [source, working folder, folder of its output, arguments] and answers with the code that the copy ended with.
# What one copy imports is not there for the next.
SERVER = """
import gc, json, os, signal, sys

PREPARE

import torch, transformers.generation
from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer, pipeline

gc.freeze()  # else a copy looks through all of it as it ends, for a second
for line in sys.stdin:
    copy = os.fork()
    if copy == 0:
        break
    print(os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]), flush=True)
else:
    sys.exit()

source, folder, output, arguments = json.loads(line)
for descriptor, name in enumerate(("stdout", "stderr"), 1):
    os.dup2(os.open(os.path.join(output, name), os.O_WRONLY | os.O_CREAT), descriptor)
os.chdir(folder)
signal.alarm(300)
sys.argv = ["-c", *arguments]
exec(compile(source, "<copy>", "exec"), {"__name__": "__main__", "sys": sys})
"""


@functools.cache
def _server(prepare: str, **settings: str) -> subprocess.Popen:
    """It ends with this process, which holds the other end of what it reads."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    # Isolated: neither the working folder nor the environment adds to what can be imported.
    command = [sys.executable, "-I", "-c", SERVER.replace("PREPARE", prepare)]
    return subprocess.Popen(
        command, env=environment | settings, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def run_copy(
    source: str, folder: Path, *arguments: str | Path, prepare: str, **settings: str
) -> subprocess.CompletedProcess:
    """
    Runs Python in a process of its own, which begins with torch and transformers imported.

    Args:
        source: The code; `sys.argv[1:]` are the arguments.
        folder: Where it works.
        arguments: For the code.
        prepare: Code that runs before anything is imported. Copies with the same have one original.
        settings: Variables of the environment, likewise.
    """
    server = _server(prepare, **settings)
    with tempfile.TemporaryDirectory() as output:
        server.stdin.write(json.dumps([source, str(folder), output, list(map(str, arguments))]) + "\n")
        server.stdin.flush()
        code = server.stdout.readline()
        assert code, f"the original ended with {server.wait()}"
        printed = [Path(output, name).read_text() for name in ("stdout", "stderr")]
    return subprocess.CompletedProcess(source, int(code), *printed)


def run_with_the_package(source: str) -> subprocess.CompletedProcess:
    """Python that can import this checkout, and has not done so."""
    root = Path(__file__).parents[2]
    return run_copy(source, root, prepare=f"sys.path.insert(0, {str(root)!r})")
