"""A small bundle for the services that are hurt here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.tiny import make_tiny_bundle


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")
