"""The pool runs side by side, keeps its bound, and gives every place back."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncIterator

import pytest

from app.errors import QueueFull, UndecodableImage
from app.intake import IntakePool

PATIENCE = 20.0
pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def pool() -> AsyncIterator[IntakePool]:
    made = IntakePool(threads=2, max_waiting=1)
    yield made
    made.close()


async def test_results_and_errors_come_back(pool: IntakePool) -> None:
    def fail() -> None:
        raise UndecodableImage("no")

    assert await pool.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(UndecodableImage):
        await pool.run(fail)


async def test_calls_run_side_by_side(pool: IntakePool) -> None:
    both = threading.Barrier(2)
    await asyncio.gather(pool.run(both.wait, PATIENCE), pool.run(both.wait, PATIENCE))


async def test_the_bound_holds_and_places_come_back(pool: IntakePool) -> None:
    gate = threading.Event()
    held = [asyncio.ensure_future(pool.run(gate.wait, PATIENCE)) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(QueueFull) as refused:
        await pool.run(gate.wait, PATIENCE)
    assert refused.value.retry_after
    gate.set()
    assert await asyncio.gather(*held) == [True, True, True]
    assert await asyncio.gather(*(pool.run(abs, -n) for n in range(3))) == [0, 1, 2]


async def test_a_cancelled_call_that_has_not_begun_never_runs(pool: IntakePool) -> None:
    gate, ran = threading.Event(), threading.Event()
    held = [asyncio.ensure_future(pool.run(gate.wait, PATIENCE)) for _ in range(2)]
    waiting = asyncio.ensure_future(pool.run(ran.set))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.set()
    await asyncio.gather(*held)
    await pool.run(abs, 1)
    assert not ran.is_set()


async def test_a_cancelled_call_that_runs_keeps_its_place_until_its_thread_is_done(pool: IntakePool) -> None:
    gate, began = threading.Event(), threading.Barrier(3)

    def work() -> None:
        began.wait(PATIENCE)
        gate.wait(PATIENCE)

    running = [asyncio.ensure_future(pool.run(work)) for _ in range(2)]
    await asyncio.to_thread(began.wait, PATIENCE)
    for call in running:
        call.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    waiting = asyncio.ensure_future(pool.run(abs, -1))
    await asyncio.sleep(0)
    with pytest.raises(QueueFull):
        await pool.run(abs, -2)
    gate.set()
    assert await waiting == 1


async def test_a_cancelled_call_that_has_not_begun_gives_its_place_back(pool: IntakePool) -> None:
    gate = threading.Event()
    held = [asyncio.ensure_future(pool.run(gate.wait, PATIENCE)) for _ in range(2)]
    for _ in range(5):
        waiting = asyncio.ensure_future(pool.run(abs, -1))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    last = asyncio.ensure_future(pool.run(abs, -2))
    gate.set()
    assert await asyncio.gather(*held, last) == [True, True, 2]


@pytest.mark.parametrize("error", [SystemExit("no"), StopIteration("no"), KeyboardInterrupt("no")])
async def test_whatever_a_call_raises_its_caller_hears_of_it_and_the_threads_go_on(
    pool: IntakePool, error: BaseException
) -> None:
    def fail() -> None:
        raise error

    for _ in range(4):
        with pytest.raises(RuntimeError, match="no"):
            await pool.run(fail)
    assert await pool.run(abs, -1) == 1


async def test_closing_waits_for_what_runs_and_drops_what_waits() -> None:
    pool = IntakePool(threads=1, max_waiting=4)
    began, gate = threading.Event(), threading.Event()

    def work() -> str:
        began.set()
        gate.wait(PATIENCE)
        return "done"

    running = asyncio.ensure_future(pool.run(work))
    waiting = [asyncio.ensure_future(pool.run(abs, -1)) for _ in range(3)]
    assert await asyncio.to_thread(began.wait, PATIENCE)
    closing = asyncio.ensure_future(asyncio.to_thread(pool.close))
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError] * 3
    assert not closing.done()
    gate.set()
    await closing
    assert await running == "done"
    with pytest.raises(RuntimeError, match="closed"):
        await pool.run(abs, -1)


async def test_an_idle_pool_keeps_nothing_of_its_last_call() -> None:
    class Upload:
        pass

    pool = IntakePool(threads=1)
    upload = Upload()
    kept = weakref.ref(upload)
    await pool.run(id, upload)
    del upload
    await pool.run(abs, -1)
    assert kept() is None
    pool.close()
