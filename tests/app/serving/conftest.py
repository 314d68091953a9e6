"""What every test of serving uses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.tiny import make_tiny_bundle


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio."""
    return "asyncio"


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a bundle with random weights."""
    return make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")
