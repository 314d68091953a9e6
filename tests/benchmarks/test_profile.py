"""Every stage of a request is found and measured, and the table adds up."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from benchmarks import profile, stages
from benchmarks.uploads import Upload
from model.bundle import load_bundle
from tests.app.intake.pictures import detailed, file
from tests.support.tiny import make_tiny_bundle

UPLOADS = [Upload(file(detailed(90 + n, 120), "JPEG"), f"red shirt {n}") for n in range(4)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "BATCH", 2)
    monkeypatch.setattr(stages, "_ROUNDS", 1)


@pytest.mark.usefixtures("few")
def test_every_stage_is_measured(tiny: Path) -> None:
    bundle = load_bundle(tiny)
    found = stages.intake_stages(bundle, UPLOADS)
    forward, items, outputs = stages.forward_stages(bundle, UPLOADS)
    labels, answer = stages.answer_stage(bundle, outputs)
    http = asyncio.run(stages.http_stages(tiny, bundle, UPLOADS, answer))
    around = asyncio.run(stages.pipeline_stages(tiny, items[0], outputs))
    assert list(items[0]) == ["image", "text"]
    assert set(answer.predictions) == set(bundle.config.tasks)
    assert set(profile.COMPUTE) < {*found, *forward}
    assert set(around) == {"pool hop", "pipeline"}
    assert all(cost >= 0 for cost in (labels, *found.values(), *http.values()))


def test_an_upload_that_intake_would_not_take_this_way_is_no_measure(tiny: Path) -> None:
    bundle = load_bundle(tiny)
    with pytest.raises(ValueError, match="plain JPEG"):
        stages.intake_stages(bundle, [Upload(file(detailed(90, 120), "PNG"), "red")])


def test_the_table_tells_compute_from_what_is_around_it() -> None:
    table = profile.show({
        "stages_core_ms": {"HTTP server": 0.1, "scaled decode": 1.0, "forward": 2.0},
        "sum_core_ms": 3.1,
        "service": {"core_ms": 4.0, "per_second": 500.0, "p50_ms": 60.0},
        "compute_core_ms": 3.0,
        "overhead_core_ms": 1.0,
        "efficiency": 0.75,
        "clients": 32,
    }).splitlines()  # fmt: skip
    assert [line.split()[-1] for line in table[1:6]] == ["2.5%", "25.0%", "50.0%", "22.5%", "100.0%"]
    assert "efficiency 0.75" in table[-1]
