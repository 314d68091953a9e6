"""Shared fixtures of the data tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.model.data.shop import make_shop


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with a faultless small data set."""
    return make_shop(tmp_path / "shop")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that decoded pictures go to, instead of the user's own."""
    path = tmp_path / "cache"
    monkeypatch.setenv("TRUNKLINE_CACHE", str(path))
    return path
