"""The engine's thread: everything that goes in comes out, whatever a forward does."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import EngineUnavailable, ServiceError
from app.serving import engine as module
from app.serving.engine import Engine, Finished
from app.serving.runtime import DeviceOutOfMemory, Later, Pending
from app.serving.splitting import Batch, Row, Run
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

    def start(self, items: Sequence[Item], tasks: Sequence[str] | None = None, narrowed: Any = None) -> Pending:
        return Later(partial(self.run, items))

    def run(self, items: Sequence[Item]) -> Outputs:
        self.sizes.append(len(items))
        numbers: Any = np.stack([entry["x"] for entry in items])
        if self.bad & set(numbers[:, 0].tolist()):
            raise self.error
        return Outputs({"echo": numbers}, np.ones((len(items), 1), np.float32))


class Stuck(Echo):
    """A forward that does not return before a test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.entered = threading.Event(), threading.Event()

    def run(self, items: Sequence[Item]) -> Outputs:
        self.entered.set()
        assert self.gate.wait(PATIENCE)
        return super().run(items)


def apart(batch: Batch) -> list[Row | ServiceError]:
    return Run(batch, nullcontext()).results()


def values(results: list[Row | ServiceError]) -> list[float | None]:
    return [float(r.probabilities["echo"][0]) if isinstance(r, Row) else None for r in results]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 20).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
def test_exactly_the_bad_items_of_a_batch_fail(case: tuple[int, set[int]]) -> None:
    count, bad = case
    results = apart(Batch(Echo(bad), [item(number) for number in range(count)], None))
    assert values(results) == [None if number in bad else number for number in range(count)]


def test_a_good_batch_runs_once() -> None:
    echo = Echo()
    apart(Batch(echo, [item(number) for number in range(8)], None))
    assert echo.sizes == [8]


def test_one_bad_item_of_eight_costs_seven_more_forwards_at_most() -> None:
    echo = Echo({5})
    apart(Batch(echo, [item(number) for number in range(8)], None))
    assert len(echo.sizes) == 7
    assert echo.sizes[0] == 8


def test_an_answer_that_is_not_finite_fails_alone() -> None:
    results = apart(Batch(Echo(), [item(1), item(float("nan")), item(3)], None))
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
        apart(Batch(Echo({1}), [item(1), item(2)], None))
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


@pytest.mark.anyio
async def test_a_forward_that_does_not_return_is_noticed_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    lost: list[str] = []
    engine, stuck = Engine(0.05, lost.append), Stuck()
    with caplog.at_level(logging.CRITICAL):
        first = submit(engine, Batch(stuck, [item(1)], None))
        assert await asyncio.to_thread(stuck.entered.wait, PATIENCE)
        while not lost:  # noqa: ASYNC110  # what is waited for tells nobody else
            await asyncio.sleep(0.01)
    assert "a forward of a batch of 1 has not ended after" in lost[0]
    assert "in run" in caplog.text, "the log says where the thread stands"
    assert not engine.alive
    with pytest.raises(EngineUnavailable):
        engine.submit(Batch(Echo(), [item(1)], None), lambda finished: None)
    assert not await engine.stop(PATIENCE), "and nobody waits for it"
    stuck.gate.set()
    engine._threads[0].join(PATIENCE)
    await asyncio.sleep(0)
    assert not first.done(), "whoever waited was told otherwise"
    assert len(lost) == 1


@pytest.mark.anyio
async def test_the_bound_follows_what_forwards_take_and_has_a_floor() -> None:
    engine = Engine(2.0)
    assert engine.bound == 2.0
    engine.expect(3.0)
    assert engine.bound == 15.0
    for _ in range(300):
        await submit(engine, Batch(Echo(), [item(1)], None))
    assert engine.bound == 2.0, "a slow one is forgotten in time"
    await engine.stop(PATIENCE)


@pytest.mark.anyio
async def test_parts_of_a_split_batch_have_the_bound_each() -> None:
    lost: list[str] = []

    class Slow(Echo):
        def run(self, items: Sequence[Item]) -> Outputs:
            assert not threading.Event().wait(0.15)
            return super().run(items)

    engine = Engine(0.4, lost.append)
    finished = await submit(engine, Batch(Slow({0, 1, 2, 3}), [item(number) for number in range(4)], None))
    assert values(finished.results) == [None] * 4
    assert finished.ended - finished.started > 0.4
    assert not lost
    await engine.stop(PATIENCE)


@pytest.mark.anyio
async def test_a_process_that_was_stopped_itself_takes_nothing_for_a_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    lost: list[str] = []
    engine, stuck = Engine(0.2, lost.append), Stuck()
    submitted = submit(engine, Batch(stuck, [item(1)], None))
    assert await asyncio.to_thread(stuck.entered.wait, PATIENCE)
    monkeypatch.setattr(module, "_LATE", 0.3)
    time.sleep(0.8)  # noqa: ASYNC251  # the loop does not turn, as if the process had been stopped
    await asyncio.sleep(0.05)
    assert not lost
    stuck.gate.set()
    assert values((await submitted).results) == [1]
    await engine.stop(PATIENCE)


@pytest.mark.anyio
async def test_a_device_that_fails_on_what_it_had_answered_is_lost_and_no_item_is_blamed() -> None:
    lost: list[str] = []
    engine = Engine(0.0, lost.append)
    finished = await submit(engine, Batch(Echo({0, 1, 99}), [item(0), item(1)], None, probe=item(99)))
    assert [type(result) for result in finished.results] == [EngineUnavailable] * 2
    assert lost == ["the network fails on every input, also on one that it had answered before"]
    assert not engine.alive


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory"), DeviceOutOfMemory("full")])
def test_what_is_too_large_for_the_memory_is_halved_until_it_fits(error: Exception) -> None:
    class Small(Echo):
        def run(self, items: Sequence[Item]) -> Outputs:
            self.sizes.append(len(items))
            if len(items) > 3:
                raise error
            return Echo().run(items)

    runtime = Small()
    run = Run(Batch(runtime, [item(number) for number in range(16)], None, probe=item(99)), nullcontext())
    assert values(run.results()) == list(range(16))
    assert run.short_of_memory == 4
    assert set(runtime.sizes) == {16, 8, 4, 2}
    assert not run.nothing_works


def test_a_request_without_memory_for_it_alone_may_be_sent_again() -> None:
    (result,) = apart(Batch(Echo({1}, MemoryError()), [item(1)], None, probe=item(1)))
    assert isinstance(result, EngineUnavailable)
    assert result.retry_after
