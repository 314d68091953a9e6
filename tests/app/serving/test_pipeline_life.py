"""From start to drain: states, failures, and nobody left waiting."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.errors import (
    Draining,
    EngineUnavailable,
)
from app.serving.types import Answer, ServingConfig
from model.bundle import BundleError
from tests.app.serving.bench import PATIENCE, Bench, ask, outcome, running, settle

pytestmark = pytest.mark.anyio


async def test_a_drain_finishes_what_was_accepted_and_refuses_what_comes(tiny_bundle: Path) -> None:
    others = set(threading.enumerate())  # engines that were lost in other tests have threads that never end
    async with running(tiny_bundle) as bench:
        bench.runtime.shut()
        calls = [ask(bench, seed) for seed in range(6)]
        await settle()
        drained = asyncio.create_task(bench.pipeline.drain(PATIENCE))
        await settle()
        assert bench.pipeline.state == "draining"
        refused = await outcome(ask(bench, 9))
        assert isinstance(refused, Draining)
        assert refused.retry_after
        bench.runtime.gate.set()
        assert all([isinstance(await outcome(call), Answer) for call in calls])
        await drained
        assert not [thread for thread in set(threading.enumerate()) - others if thread.name == "engine"]


async def test_a_drain_that_takes_too_long_leaves_nobody_waiting(tiny_bundle: Path) -> None:
    async with running(tiny_bundle) as bench:
        bench.runtime.shut()
        calls = [ask(bench, seed) for seed in range(6)]
        await settle()
        drained = asyncio.create_task(bench.pipeline.drain(0.01))
        assert [type(await outcome(call)) for call in calls] == [Draining] * 6
        bench.runtime.gate.set()
        await drained
        assert bench.value("requests_in_flight") == 0


async def test_states_from_start_to_end(tiny_bundle: Path) -> None:
    bench = Bench(tiny_bundle)
    assert bench.pipeline.state == "starting"
    early = await outcome(ask(bench, 0))
    assert isinstance(early, EngineUnavailable)
    assert early.retry_after
    assert bench.value("engine_state", state="starting") == 1
    await bench.pipeline.start()
    assert (bench.pipeline.state, bench.pipeline.reason) == ("ready", None)
    assert bench.value("engine_state", state="ready") == 1
    assert bench.value("engine_state", state="starting") == 0
    assert [size for size, _ in bench.runtime.calls][-3:] == [4, 2, 1], "every batch size is warmed"
    digest = bench.pipeline.registry.default().bundle.digest
    assert bench.value("bundle_info", name="tiny", version="1", digest=digest, device="cpu") == 1
    await bench.pipeline.drain(PATIENCE)
    await bench.pipeline.drain(PATIENCE)
    assert bench.pipeline.state == "draining"


async def test_a_bundle_that_cannot_be_loaded_fails_the_start_and_says_why(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "nowhere")
    with pytest.raises(BundleError, match="nowhere"):
        await bench.pipeline.start()
    assert bench.pipeline.state == "failed"
    assert bench.pipeline.reason
    assert "nowhere" in bench.pipeline.reason
    assert isinstance(await outcome(ask(bench, 0)), EngineUnavailable)
    await bench.pipeline.drain(PATIENCE)
    assert bench.pipeline.state == "failed"


async def test_a_bundle_with_other_weights_than_its_golden_cases_is_not_served(tiny_bundle: Path) -> None:
    class Wrong(Bench):
        def make_runtime(self, bundle: Any) -> Any:
            golden = [
                case.model_copy(
                    update={"answers": {name: [v + 0.1 for v in values] for name, values in case.answers.items()}}
                )
                for case in bundle.golden
            ]
            bundle.golden = golden
            return super().make_runtime(bundle)

    bench = Wrong(tiny_bundle)
    with pytest.raises(BundleError, match=r"golden\.json"):
        await bench.pipeline.start()
    assert bench.pipeline.state == "failed"


async def test_two_bundles_of_one_name_are_refused(tiny_bundle: Path) -> None:
    bench = Bench(tiny_bundle, bundles=(tiny_bundle, tiny_bundle))
    with pytest.raises(BundleError, match="'tiny' is served already"):
        await bench.pipeline.start()


async def test_a_drain_during_the_start_ends_both(tiny_bundle: Path) -> None:
    bench = Bench(tiny_bundle, bundles=(tiny_bundle, tiny_bundle))
    starting = asyncio.create_task(bench.pipeline.start())
    await settle()
    async with asyncio.timeout(PATIENCE):
        await bench.pipeline.drain(PATIENCE)
        await starting
    assert bench.pipeline.state == "draining"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("bundles", ()),
        ("device", "tpu"),
        ("batch_sizes", ()),
        ("batch_sizes", (0, 1)),
        ("max_queue", 0),
        ("max_in_flight", 0),
        ("max_bytes_in_flight", 0),
        ("default_deadline", 0.0),
        ("torch_threads", 0),
    ],
)
def test_a_wrong_config_names_its_field(field: str, value: object) -> None:
    good = ServingConfig(bundles=(Path("b"),))
    with pytest.raises(ValueError, match=field):
        replace(good, **{field: value})  # type: ignore[arg-type]
