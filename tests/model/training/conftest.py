"""The made data set, written and read once for all tests of training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from model.config import parse_config
from model.data.dataset import Dataset, load_dataset
from model.training import bundling
from tests.model.training.shapes import document, make_shapes


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shapes(tmp_path_factory.mktemp("shapes") / "data")


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def dataset(shapes: Path, cache: Path) -> Dataset:
    return load_dataset(parse_config(document()), shapes, cache=cache)


@pytest.fixture(scope="session", autouse=True)
def graphs() -> Iterator[list[Path]]:
    """The bundles that were to get a graph; tracing one takes seconds, and has tests of its own."""
    asked: list[Path] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundling, "write_graph", lambda bundle: asked.append(bundle.path))
        yield asked
