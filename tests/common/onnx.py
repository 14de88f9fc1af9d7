"""What ONNX files need."""

import pytest
import torch


def needs_onnx() -> None:
    """Skips a test where they cannot be written or run."""
    if not hasattr(torch.onnx, "ops"):
        pytest.skip("needs PyTorch 2.8 or newer")
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
