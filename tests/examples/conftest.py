"""A live service for the example clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.app.api.harness import running
from tests.support.tiny import make_tiny_bundle


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service with the tiny bundle."""
    with running(make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")) as service:
        yield service.url
