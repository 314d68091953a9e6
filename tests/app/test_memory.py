"""The ceiling of memory follows the settings, and each part of it what the setting bounds."""

from __future__ import annotations

import pytest

from app.memory import ceiling
from app.settings import Settings
from app.threads import plan_threads


def of(workers: int = 1, intake: int = 2, **settings: object) -> int:
    plan = plan_threads(cores=4, gpu=False, workers=workers, intake=intake)
    return ceiling(Settings(_env_file=None, **settings), plan).total  # type: ignore[arg-type]


def test_every_bound_lowers_it() -> None:
    for name in ("max_bytes_in_flight", "max_pixels", "max_connections", "max_in_flight"):
        usual = Settings.model_fields[name].default
        assert of(**{name: usual // 2}) < of()
    assert of(cache_size=0) < of()
    assert of(intake=1) < of() < of(workers=2)


def test_it_is_told_in_one_line_with_its_parts() -> None:
    plan = plan_threads(cores=2, gpu=False, workers=1)
    told = str(ceiling(Settings(_env_file=None), plan))
    assert told.startswith("requests take at most ")
    for part in ("1.00 for uploads", "for parsing", "for decoding", "for connections", "for answers"):
        assert part in told


@pytest.mark.parametrize("smaller", [64, 256])
def test_uploads_count_in_full(smaller: int) -> None:
    assert of(max_bytes_in_flight=smaller << 20) >= smaller << 20
