"""A service in a process of its own, as somebody runs it, with the limits that it has by default."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.processes.service import Service, serving
from tests.hostile.memory import Peak
from tests.support.tiny import make_tiny_bundle


@pytest.fixture(scope="package")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a bundle with random weights."""
    return make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="package")
def service(tiny: Path) -> Iterator[Service]:
    with serving(tiny, "--workers", "1", "--intake-threads", "1") as service:
        yield service


@pytest.fixture(scope="package")
def peak(service: Service) -> Peak:
    """Memory beyond what the service takes at the beginning."""
    return Peak(service.process.pid)
