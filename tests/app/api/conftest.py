"""One service for every test that leaves it as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.app.api.harness import Service, running
from tests.support.tiny import make_tiny_bundle


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a bundle with random weights."""
    return make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


# Not for the whole session: tests elsewhere count the threads that are left.
@pytest.fixture(scope="package")
def service(tiny: Path) -> Iterator[Service]:
    with running(tiny, max_image_bytes=1 << 20, max_text_bytes=1 << 20) as service:
        yield service


@pytest.fixture(scope="package")
def client(service: Service) -> httpx.Client:
    return service.client
