"""Queues, deadlines and clients that leave: what is bounded, and what the gauges show meanwhile."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from app.errors import (
    DeadlineExceeded,
    QueueFull,
    ServiceError,
    TooLarge,
)
from app.intake.pool import IntakePool
from app.serving.types import Answer
from tests.app.serving.bench import ALL, ask, numbers, outcome, parts, picture, running, settle

pytestmark = pytest.mark.anyio


async def test_gauges_are_exact_while_the_queue_fills_and_drains(tiny_bundle: Path) -> None:
    async with running(tiny_bundle) as bench:
        before = bench.value("batch_size_count")
        bench.runtime.shut()
        calls = []
        for count in range(1, 7):
            calls.append(ask(bench, count))
            await settle()
            assert bench.value("requests_in_flight") == count
            assert bench.value("queue_length") == count - 1
        assert bench.value("bytes_in_flight") == sum(len(p) for seed in range(1, 7) for p in parts(seed).values())
        calls[2].cancel()
        await settle()
        assert (bench.value("requests_in_flight"), bench.value("queue_length")) == (5, 4)
        bench.runtime.gate.set()
        for call in calls[:2] + calls[3:]:
            await call
        assert (bench.value("requests_in_flight"), bench.value("queue_length")) == (0, 0)
        assert bench.value("bytes_in_flight") == 0
        assert bench.value("batch_size_count") - before == 2
        assert bench.value("requests_total", outcome="ok") == 5
        assert bench.value("requests_total", outcome="cancelled") == 1
        assert bench.value("stage_seconds_count", stage="run") == 5


async def test_a_client_that_leaves_the_queue_costs_no_forward(tiny_bundle: Path) -> None:
    async with running(tiny_bundle) as bench:
        bench.runtime.shut()
        calls = [ask(bench, seed) for seed in range(4)]
        await settle()
        calls[1].cancel()
        await settle()
        bench.runtime.gate.set()
        assert [isinstance(await outcome(calls[seed]), Answer) for seed in (0, 2, 3)] == [True] * 3
        assert [size for size, _ in bench.runtime.calls] == [1, 2]


async def test_a_client_that_leaves_while_its_batch_runs_disturbs_nobody(tiny_bundle: Path) -> None:
    async with running(tiny_bundle) as bench:
        bench.runtime.shut()
        calls = [ask(bench, seed) for seed in range(4)]
        await bench.runtime.entered()
        calls[0].cancel()
        bench.runtime.gate.set()
        assert [isinstance(await outcome(call), Answer) for call in calls[1:]] == [True] * 3
        assert isinstance(await outcome(ask(bench, 0)), Answer)


async def test_a_full_queue_refuses_with_a_time_to_come_back(tiny_bundle: Path) -> None:
    async with running(tiny_bundle, max_queue=2) as bench:
        bench.runtime.shut()
        calls = [ask(bench, seed) for seed in range(3)]
        await settle()
        refused = await outcome(ask(bench, 3))
        assert isinstance(refused, QueueFull)
        assert refused.retry_after is not None
        assert refused.retry_after >= 1
        bench.runtime.gate.set()
        assert all([isinstance(await outcome(call), Answer) for call in calls])


async def test_requests_and_bytes_in_flight_are_bounded(tiny_bundle: Path) -> None:
    async with running(tiny_bundle, max_in_flight=2, max_bytes_in_flight=1000) as bench:
        with bench.pipeline.admit(600) as ticket:
            ticket.arrived(600)
            with bench.pipeline.admit(1) as other:
                other.arrived(1)
                with pytest.raises(QueueFull, match="bytes"):
                    ticket.arrived(1000)
                ticket.arrived(999)
                assert bench.value("bytes_in_flight") == 1000
                with pytest.raises(QueueFull, match="requests"):
                    bench.pipeline.admit(0)
        assert (bench.value("requests_in_flight"), bench.value("bytes_in_flight")) == (0, 0)
        with pytest.raises(TooLarge, match="1000 bytes"):
            bench.pipeline.admit(1001)
        assert bench.value("requests_total", outcome="queue-full") == 1
        assert bench.value("requests_total", outcome="too-large") == 1


async def test_a_callers_ticket_is_used_and_stays_the_callers(tiny_bundle: Path) -> None:
    async with running(tiny_bundle, max_in_flight=1) as bench:
        with bench.pipeline.admit(10) as ticket:
            answer = await bench.pipeline.predict(parts(1), ALL, ticket=ticket)
            assert isinstance(answer, Answer)
            assert bench.value("requests_in_flight") == 1
        assert bench.value("requests_in_flight") == 0
        assert bench.value("requests_total", outcome="ok") == 1


async def test_a_deadline_that_has_passed_costs_neither_decode_nor_forward(tiny_bundle: Path) -> None:
    async with running(tiny_bundle) as bench:
        bench.runtime.calls.clear()
        late = await outcome(bench.pipeline.predict({"image": b"never decoded"}, ALL, deadline=time.monotonic() - 1))
        assert isinstance(late, DeadlineExceeded)
        assert bench.runtime.calls == []


async def test_a_deadline_that_passes_in_the_queue_costs_no_forward(tiny_bundle: Path) -> None:
    async with running(tiny_bundle) as bench:
        bench.runtime.shut()
        first = ask(bench, 0)
        await settle()
        late = await outcome(ask(bench, 1, deadline=time.monotonic() + 0.03))
        assert isinstance(late, DeadlineExceeded)
        assert bench.value("queue_length") == 0
        bench.runtime.gate.set()
        assert isinstance(await outcome(first), Answer)
        assert [size for size, _ in bench.runtime.calls] == [1]


async def test_a_deadline_that_passes_in_the_engine_is_answered_then(tiny_bundle: Path) -> None:
    async with running(tiny_bundle) as bench:
        bench.runtime.shut()
        late = await outcome(ask(bench, 0, deadline=time.monotonic() + 0.03))
        assert isinstance(late, DeadlineExceeded)
        assert not bench.runtime.gate.is_set()
        bench.runtime.gate.set()
        assert isinstance(await outcome(ask(bench, 1)), Answer)


async def test_whatever_happens_each_request_ends_and_the_gauges_return_to_zero(tiny_bundle: Path) -> None:
    count = 400
    chance = random.Random(0)
    pool = IntakePool(threads=2)
    async with running(tiny_bundle, pool, max_queue=40, max_in_flight=200) as bench:
        alone = {seed: numbers(await bench.pipeline.predict(parts(seed), ALL)) for seed in range(16)}
        bench.runtime.poisoned = lambda item: ValueError() if item.get("text", picture(0)).size == 3 else None

        async def client(seed: int) -> str:
            deadline = time.monotonic() + chance.choice([0.0, 0.02, 30.0, 30.0, 30.0])
            call = ask(bench, seed % 16, deadline=deadline)
            for _ in range(chance.randrange(40)):
                await asyncio.sleep(0)
            if chance.random() < 0.2:
                call.cancel()
            try:
                answer = await outcome(call)
            except asyncio.CancelledError:
                return "cancelled"
            if isinstance(answer, ServiceError):
                return answer.code
            np.testing.assert_allclose(numbers(answer), alone[seed % 16], atol=1e-5)
            return "ok"

        ends = Counter(await asyncio.gather(*(client(seed) for seed in range(count))))
        assert sum(ends.values()) == count
        assert {"ok", "cancelled", "inference-failed"} <= set(ends), ends
        assert bench.value("requests_total", outcome="ok") == ends["ok"] + len(alone)
        gauges = [bench.value(name) for name in ("requests_in_flight", "bytes_in_flight", "queue_length")]
        assert gauges == [0, 0, 0]
        bench.runtime.poisoned = lambda item: None
        assert isinstance(await outcome(ask(bench, 1)), Answer)
    pool.close()
