import pytest
from accelerate.state import AcceleratorState


@pytest.fixture(autouse=True)
def fresh_accelerate() -> None:
    """Accelerate keeps the precision of its first use for the whole process."""
    AcceleratorState._reset_state(reset_partial_state=True)
