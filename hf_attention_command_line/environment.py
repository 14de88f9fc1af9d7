"""What a bug report should say of the machine. Nothing large is imported for it, and no folder is named."""

import os
import platform
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires, version


VARIABLES = ("HF_ATTENTION_FAST", "HF_HUB_OFFLINE", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")


def environment() -> str:
    """
    The versions of the package, of Python and of all that the package can use, the machine, and the variables that
    change what is computed how.

    Returns:
        `str`: A line each.
    """
    requirements = requires("hf_attention") or []
    names = [re.match(r"[\w.-]+", line)[0] for line in requirements if "extra == 'dev'" not in line.replace('"', "'")]
    entries = {
        "hf_attention": _version("hf_attention"),
        "Python": platform.python_version(),
        "system": platform.platform(),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "accelerators": _accelerators(),
        **{name: _version(name) for name in dict.fromkeys(names)},
        **{name: os.environ[name] for name in VARIABLES if name in os.environ},
    }
    return "\n".join(f"{name}: {value}" for name, value in entries.items())


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    if sys.platform == "linux":
        with open("/proc/cpuinfo") as file:
            found = re.search(r"model name\s*: (.+)", file.read())
        if found:
            return found[1]
    return platform.processor() or platform.machine()


def _accelerators() -> str:
    """Those of NVIDIA, as their own tool tells them."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return "no nvidia-smi"
    query = [tool, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        result = subprocess.run(query, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "nvidia-smi does not answer"
    return "; ".join(result.stdout.split("\n")).strip("; ") or "nvidia-smi names none"
