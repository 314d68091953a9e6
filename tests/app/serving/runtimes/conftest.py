"""What every test of runtimes leaves behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _denormal_numbers() -> Iterator[None]:
    """ONNX Runtime turns them off in the thread that calls it: the engine's in a service, here that of all tests."""
    yield
    torch.set_flush_denormal(False)
