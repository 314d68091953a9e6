"""Identical requests on their way through the pipeline."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import numpy as np
import pytest

from app.errors import DeadlineExceeded, UndecodableImage
from app.serving.types import Answer, Options
from tests.app.serving.bench import ALL, ask, numbers, outcome, parts, running, settle
from tests.support.tiny import make_tiny_bundle, tiny_config

pytestmark = pytest.mark.anyio
CACHED = {"cache_bytes": 1 << 20}


async def test_the_same_request_again_runs_nothing(tiny_bundle: Path) -> None:
    async with running(tiny_bundle, **CACHED) as bench:
        bench.runtime.calls.clear()
        first, again = [await ask(bench, 1) for _ in range(2)]
        assert len(bench.runtime.calls) == 1
        assert again.predictions == first.predictions
        assert (again.model, again.version, again.modalities) == (first.model, first.version, first.modalities)
        assert list(again.timings) == ["cache"]
        assert bench.value("cache_requests_total", result="hit") == 1
        assert bench.value("cache_requests_total", result="miss") == 1
        assert bench.value("cache_entries") == 1
        assert bench.value("cache_bytes") > 100
        assert bench.value("requests_total", outcome="ok") == 2


@pytest.mark.parametrize(
    "options",
    [Options(top_k=1), Options(coverage=0.8), Options(explain=True), Options(tasks=("year",))],
)
async def test_another_option_is_another_request(tiny_bundle: Path, options: Options) -> None:
    async with running(tiny_bundle, **CACHED) as bench:
        await ask(bench, 1, Options())
        assert (await ask(bench, 1, options)).batch_size == 1
        assert bench.value("cache_requests_total", result="hit") == 0


async def test_another_bundle_answers_for_itself(tiny_bundle: Path, tmp_path: Path) -> None:
    other = make_tiny_bundle(tmp_path / "other", seed=1, config=tiny_config(name="other"))
    async with running(tiny_bundle, bundles=(tiny_bundle, other), **CACHED) as bench:
        answers = [await ask(bench, 1, model=name) for name in ("tiny", "other", "tiny", "other")]
        assert [answer.model for answer in answers] == ["tiny", "other", "tiny", "other"]
        assert answers[0].predictions == answers[2].predictions != answers[1].predictions == answers[3].predictions
        assert bench.value("cache_requests_total", result="hit") == 2


async def test_twins_share_a_forward(tiny_bundle: Path) -> None:
    async with running(tiny_bundle, **CACHED) as bench:
        bench.runtime.shut()
        twins = [ask(bench, 1) for _ in range(5)]
        await settle()
        assert bench.value("queue_length") == 0
        twins[0].cancel()
        hurried = await outcome(ask(bench, 1, deadline=time.monotonic() + 0.03))
        assert isinstance(hurried, DeadlineExceeded)
        bench.runtime.gate.set()
        answers = [await outcome(twin) for twin in twins[1:]]
        assert all(isinstance(answer, Answer) for answer in answers)
        assert [size for size, _ in bench.runtime.calls] == [1, 1]  # that of the one who left, and one for the rest
        for answer in answers:
            np.testing.assert_array_equal(numbers(answer), numbers(answers[0]))
        assert bench.value("requests_in_flight") == 0


async def test_a_wrong_input_is_wrong_every_time(tiny_bundle: Path) -> None:
    async with running(tiny_bundle, **CACHED) as bench:
        broken = parts(1) | {"image": b"\x89PNG\r\n\x1a\n" + bytes(20)}
        for _ in range(2):
            assert isinstance(await outcome(bench.pipeline.predict(broken, ALL)), UndecodableImage)
        assert bench.value("cache_entries") == 0


async def test_one_flag_switches_both_off(tiny_bundle: Path) -> None:
    async with running(tiny_bundle, cache_bytes=0) as bench:
        bench.runtime.shut()
        twins = [ask(bench, 1) for _ in range(3)]
        await settle()
        assert bench.value("queue_length") == 2
        bench.runtime.gate.set()
        await asyncio.gather(*twins)
        assert (await ask(bench, 1)).batch_size == 1
        assert bench.value("cache_requests_total", result="miss") == 0


async def test_a_large_upload_is_known_again_too(tiny_bundle: Path) -> None:
    async with running(tiny_bundle, **CACHED) as bench:
        large: dict[str, bytes | str] = {"text": "red " * 100_000}
        first, again = [await bench.pipeline.predict(large, ALL) for _ in range(2)]
        assert (first.batch_size, again.batch_size) == (1, 0)
        assert again.truncated == first.truncated == ("text",)
        assert again.predictions == first.predictions
