"""
What older releases of transformers get wrong by themselves, with any model or with other people's: tests that would
meet it are skipped there, and the reason says why.
"""

import re
from dataclasses import dataclass

import pytest
import transformers
from packaging.version import Version


INSTALLED = Version(transformers.__version__)


@dataclass(frozen=True)
class Fault:
    """
    A fault of transformers.

    Args:
        first: The first release that has it.
        mended: The first that has it no longer.
        tests: A regular expression, found in the names of the tests that would meet it.
        reason: What is wrong.
    """

    first: str
    mended: str
    tests: str
    reason: str

    @property
    def is_here(self) -> bool:
        return Version(self.first) <= INSTALLED < Version(self.mended)


FAULTS: list[Fault] = []


def skip_faults(items: list[pytest.Item]) -> None:
    """Marks the tests that would meet a fault of the installed transformers."""
    for fault in FAULTS:
        if fault.is_here:
            mark = pytest.mark.skip(reason=f"transformers {fault.first} to {fault.mended}: {fault.reason}")
            for item in items:
                if re.search(fault.tests, item.nodeid):
                    item.add_marker(mark)
