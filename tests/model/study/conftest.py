"""The made data set of the training tests, and a plan over it."""

from __future__ import annotations

from tests.model.training.conftest import cache, dataset, shapes

__all__ = ["cache", "dataset", "shapes"]
