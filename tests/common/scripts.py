"""Running the project's scripts in this process, and reading what a training run wrote."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
from accelerate.state import AcceleratorState


SCRIPTS = Path(__file__).parents[2] / "scripts"


def load_script(name: str) -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # a dataclass looks its module up
    spec.loader.exec_module(module)
    return module


def command_line(**values: object) -> list[str]:
    """The words of a command line; a list becomes several words behind one option."""
    words = []
    for name, value in values.items():
        words += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return words


def run_script(name: str, *arguments: object, **values: object) -> None:
    """Runs a script with these words and options; what it makes to be pushed names no folder."""
    AcceleratorState._reset_state(reset_partial_state=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments), *command_line(**values)])
        load_script(name).main()
    if "output_dir" in values:
        paths = [Path(value) for value in (*arguments, *values.values()) if isinstance(value, str | Path)]
        folders = {str(path.parent).encode() for path in paths if path.is_absolute()}
        for file in Path(values["output_dir"]).glob("[!.]*"):
            if file.is_file():
                content = file.read_bytes()
                assert not any(folder in content for folder in folders), f"{file.name} names a folder"


def child_environment(**more: str) -> dict[str, str]:
    """The environment of a process that is to run this checkout, on one thread, and may import what tests share."""
    tests = Path(__file__).parents[1]
    path = os.pathsep.join([str(tests.parent), str(tests)])
    return os.environ | {"PYTHONPATH": path, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"} | more


def wait_for_handler(process: subprocess.Popen) -> None:
    """Until a script has a handler for SIGTERM, as Linux tells."""
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        caught = re.search(r"^SigCgt:\s*(\w+)", status.read_text(), re.MULTILINE)[1]
        if int(caught, 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.001)


def log(output_dir: Path) -> list[dict]:
    """The lines of a run's log."""
    return [json.loads(line) for line in (output_dir / "log.jsonl").read_text().splitlines()]


def logged(output_dir: Path, name: str) -> list[float]:
    """What a run's log holds under this name, line by line."""
    return [line[name] for line in log(output_dir) if name in line]
