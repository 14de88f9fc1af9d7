import os
import shutil
import tempfile
from pathlib import Path

import pytest


# These are read when the libraries are imported: set them first.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Code that a checkpoint carries is copied here; parallel workers would write over each other's.
os.environ["HF_MODULES_CACHE"] = tempfile.mkdtemp(prefix="hf_attention_modules_")

import torch  # noqa: E402
from common import factories  # noqa: E402
from common.versions import IGNORED, skip_faults  # noqa: E402
from transformers import set_seed  # noqa: E402


collect_ignore = IGNORED

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # one worker a core


def pytest_configure(config: pytest.Config) -> None:
    for mark in factories.OVER:
        config.addinivalue_line("markers", f"{mark.name}: see tests/common/factories.py")


@pytest.hookimpl(trylast=True)  # the model is the last part of a test's name
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    factories.parametrize(metafunc)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skip_faults(items)


def pytest_unconfigure() -> None:
    shutil.rmtree(os.environ["HF_MODULES_CACHE"], ignore_errors=True)


@pytest.fixture(autouse=True)
def seed() -> None:
    """The same random numbers for a test, whichever tests ran before it."""
    set_seed(0)


@pytest.fixture(scope="session")
def hf_attention_data() -> Path:
    """The folder of real data and models, `$HF_ATTENTION_DATA`; tests that ask for it skip without."""
    name = os.environ.get("HF_ATTENTION_DATA")
    if not name:
        pytest.skip("$HF_ATTENTION_DATA is not set")
    folder = Path(name)
    if not folder.is_dir():
        pytest.fail(f"$HF_ATTENTION_DATA names {name!r}, which is no folder")
    return folder
