"""The engine's thread: everything that goes in comes out, whatever a forward does."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import EngineUnavailable, InferenceFailed
from app.serving.engine import Batch, Engine, Finished, Row, run_apart
from app.serving.runtime import Later, Pending
from model.outputs import Outputs
from model.preprocess import Item
from tests.app.serving.bench import PATIENCE

SECRET = "what the user wrote"


def item(number: float) -> Item:
    return {"x": np.array([number], dtype=np.float32)}


class Echo:
    """Answers each item with its own number; fails on a batch that holds a bad one, answers NaN for a NaN."""

    name = "echo"
    device = "cpu"
    precision = "fp32"
    lengths: tuple[int, ...] = ()
    in_flight = 1

    def __init__(self, bad: set[int] | None = None, error: BaseException | None = None) -> None:
        self.bad = bad or set()
        self.error = error or ValueError(SECRET)
        self.sizes: list[int] = []

    def start(self, items: Sequence[Item], tasks: Sequence[str] | None = None) -> Pending:
        return Later(partial(self.run, items))

    def run(self, items: Sequence[Item]) -> Outputs:
        self.sizes.append(len(items))
        numbers: Any = np.stack([entry["x"] for entry in items])
        if self.bad & set(numbers[:, 0].tolist()):
            raise self.error
        return Outputs({"echo": numbers}, np.ones((len(items), 1), np.float32))


def values(results: list[Row | InferenceFailed]) -> list[float | None]:
    return [float(r.probabilities["echo"][0]) if isinstance(r, Row) else None for r in results]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 20).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
def test_exactly_the_bad_items_of_a_batch_fail(case: tuple[int, set[int]]) -> None:
    count, bad = case
    results = run_apart(Batch(Echo(bad), [item(number) for number in range(count)], None), nullcontext())
    assert values(results) == [None if number in bad else number for number in range(count)]


def test_a_good_batch_runs_once() -> None:
    echo = Echo()
    run_apart(Batch(echo, [item(number) for number in range(8)], None), nullcontext())
    assert echo.sizes == [8]


def test_one_bad_item_of_eight_costs_seven_more_forwards_at_most() -> None:
    echo = Echo({5})
    run_apart(Batch(echo, [item(number) for number in range(8)], None), nullcontext())
    assert len(echo.sizes) == 7
    assert echo.sizes[0] == 8


def test_an_answer_that_is_not_finite_fails_alone() -> None:
    results = run_apart(Batch(Echo(), [item(1), item(float("nan")), item(3)], None), nullcontext())
    assert values(results) == [1, None, 3]


@pytest.mark.parametrize("error", [ValueError(SECRET), SystemExit(SECRET), KeyboardInterrupt(), MemoryError()])
@pytest.mark.anyio
async def test_the_thread_outlives_whatever_a_forward_raises(error: BaseException) -> None:
    engine = Engine()
    for bad, expected in (({1}, [None]), (set(), [1.0])):
        finished = await submit(engine, Batch(Echo(bad, error), [item(1)], None))
        assert values(finished.results) == expected
    assert engine.alive
    assert await engine.stop(PATIENCE)


@pytest.mark.anyio
async def test_results_are_delivered_in_the_event_loop_and_forwards_run_outside() -> None:
    class Where(Echo):
        def run(self, items: Sequence[Item]) -> Outputs:
            self.thread = threading.current_thread()
            return super().run(items)

    engine, runtime = Engine(), Where()
    built_in = await engine.call(threading.current_thread)
    finished = await submit(engine, Batch(runtime, [item(1)], None))
    assert finished.started <= finished.ended
    assert runtime.thread is built_in is not threading.current_thread()
    await engine.stop(PATIENCE)


@pytest.mark.anyio
async def test_a_call_gives_what_its_function_raises() -> None:
    engine = Engine()
    with pytest.raises(ZeroDivisionError):
        await engine.call(lambda: 1 // 0)
    assert await engine.call(lambda: 42) == 42
    await engine.stop(PATIENCE)


@pytest.mark.anyio
async def test_stop_finishes_what_was_submitted_and_takes_no_more() -> None:
    engine, gate = Engine(), threading.Event()
    held = asyncio.create_task(engine.call(lambda: gate.wait(PATIENCE)))
    await asyncio.sleep(0)
    submitted = submit(engine, Batch(Echo(), [item(1)], None))
    assert not await engine.stop(0.01), "it is still busy"
    with pytest.raises(EngineUnavailable):
        await engine.call(lambda: None)
    with pytest.raises(EngineUnavailable):
        engine.submit(Batch(Echo(), [item(1)], None), lambda finished: None)
    gate.set()
    assert await engine.stop(PATIENCE)
    assert await held
    assert values((await submitted).results) == [1]


def test_a_thread_whose_loop_is_gone_ends_quietly() -> None:
    gate = threading.Event()

    async def leave() -> Engine:
        engine = Engine()
        engine.submit(Batch(Echo(), [item(1)], None), lambda finished: None)
        asyncio.ensure_future(engine.call(lambda: gate.wait(PATIENCE))).cancel()
        return engine

    engine = asyncio.run(leave())
    gate.set()
    assert asyncio.run(engine.stop(PATIENCE))


def test_the_log_of_a_failure_holds_no_input(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        run_apart(Batch(Echo({1}), [item(1), item(2)], None), nullcontext())
    assert len(caplog.records) == 2
    assert all(SECRET not in record.getMessage() for record in caplog.records)


def submit(engine: Engine, batch: Batch) -> asyncio.Future[Finished]:
    future: asyncio.Future[Finished] = asyncio.get_running_loop().create_future()
    loop_thread = threading.current_thread()

    def deliver(finished: Finished) -> None:
        assert threading.current_thread() is loop_thread
        future.set_result(finished)

    engine.submit(batch, deliver)
    return future
