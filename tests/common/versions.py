"""What the tests must know of the transformers that they run on."""

import pytest
import transformers
from packaging.version import Version


INSTALLED = Version(transformers.__version__)


def since(version: str, reason: str) -> pytest.MarkDecorator:
    """Skips a test on an older transformers, for a fault or a lack of its own that the reason names."""
    return pytest.mark.skipif(INSTALLED < Version(version), reason=f"transformers before {version}: {reason}")
