"""An engine behind a socket answers as one in the process does, and nothing is lost between the two."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import EngineUnavailable, InferenceFailed, QueueFull
from app.intake.pool import IntakePool
from app.intake.prepare import Prepared
from app.serving.types import Answer, Options
from model.preprocess import Item
from tests.app.serving.bench import ALL, PATIENCE, numbers, outcome, parts, picture, png, running, settle
from tests.app.serving.remote.setup import House, house

pytestmark = pytest.mark.anyio


async def ask(pipeline: object, seed: int, options: Options = ALL, **more: object) -> Answer:
    return await pipeline.predict(parts(seed), options, **more)  # type: ignore[attr-defined,no-any-return]


async def test_answers_are_those_of_one_process_bit_for_bit(tiny_bundle: Path) -> None:
    wanted = Options(top_k=100, explain=True, coverage=0.9)
    some = Options(tasks=("year", "colour"), top_k=100)
    async with running(tiny_bundle) as bench, house(tiny_bundle) as remote:
        for seed in range(12):
            for options in (wanted, some):
                here = await bench.pipeline.predict(parts(seed), options)
                there = await ask(remote.pipelines[0], seed, options)
                assert there.predictions == here.predictions
                assert (there.modalities, there.truncated) == (here.modalities, here.truncated)
        described = remote.pipelines[0].registry.default()
        assert described.bundle.describe() == bench.pipeline.registry.default().bundle.describe()
        assert (described.runtime, described.device, described.precision) == ("torch", "cpu", "fp32")


async def test_every_answer_belongs_to_its_request(tiny_bundle: Path) -> None:
    async with running(tiny_bundle) as bench:
        expected = [numbers(await bench.pipeline.predict(parts(seed), ALL)) for seed in range(24)]
    gc.disable()  # that a slot is given back may not depend on it
    async with house(tiny_bundle, workers=3, max_queue=1000) as remote:
        pool = IntakePool(2)
        remote.pipelines.append(remote.worker(pool))
        await remote.pipelines[-1].start()
        seeds = [n % 24 for n in range(240)]
        asked = [
            asyncio.ensure_future(ask(remote.pipelines[n % 4], seed, priority=n % 3)) for n, seed in enumerate(seeds)
        ]
        await asyncio.sleep(0)
        for call in asked[::7]:
            call.cancel()
        found = await asyncio.gather(*asked, return_exceptions=True)
        answered = [(seed, answer) for seed, answer in zip(seeds, found, strict=True) if isinstance(answer, Answer)]
        assert len(answered) >= 240 - len(asked[::7])
        for seed, answer in answered:
            # Batches differ, and with them the order in which a processor adds.
            np.testing.assert_allclose(numbers(answer), expected[seed], atol=2e-5)
        assert max(answer.batch_size for _, answer in answered) > 1
        await remote.until(lambda: not any(backend.slots_taken for backend in remote.backends))
        pool.close()
    gc.enable()


async def test_requests_of_all_workers_share_batches(tiny_bundle: Path) -> None:
    async with house(tiny_bundle, workers=2) as remote:
        remote.runtime.shut()
        first = asyncio.ensure_future(ask(remote.pipelines[0], 0))
        await remote.runtime.entered()
        rest = [asyncio.ensure_future(ask(remote.pipelines[n % 2], 0)) for n in range(4)]
        await remote.until(lambda: remote.local and remote.local.waiting == 4)
        remote.runtime.gate.set()
        await first
        assert [answer.batch_size for answer in await asyncio.gather(*rest)] == [4, 4, 4, 4]


async def test_a_cancelled_request_that_waits_is_dropped_and_its_slot_freed(tiny_bundle: Path) -> None:
    async with house(tiny_bundle) as remote:
        (backend,) = remote.backends
        remote.runtime.shut()
        first = asyncio.ensure_future(ask(remote.pipelines[0], 0))
        await remote.runtime.entered()
        second = asyncio.ensure_future(ask(remote.pipelines[0], 1))
        await remote.until(lambda: remote.local and remote.local.waiting == 1)
        second.cancel()
        await asyncio.wait((second,))
        await remote.until(lambda: backend.slots_taken == 1)
        assert remote.local
        assert remote.local.waiting == 0
        remote.runtime.gate.set()
        assert (await first).batch_size == 1


async def test_a_cancelled_request_that_runs_keeps_its_slot_until_the_forward_has_ended(tiny_bundle: Path) -> None:
    async with house(tiny_bundle) as remote:
        (backend,) = remote.backends
        remote.runtime.shut()
        call = asyncio.ensure_future(ask(remote.pipelines[0], 0))
        await remote.runtime.entered()
        call.cancel()
        await asyncio.wait((call,))
        # A request that comes after it has been through the engine and back: the engine knows of the cancel by now.
        assert remote.server
        late = asyncio.ensure_future(ask(remote.pipelines[0], 1))
        await remote.until(lambda: remote.local and remote.local.waiting == 1)
        assert backend.slots_taken == 2
        remote.runtime.gate.set()
        await late
        await remote.until(lambda: backend.slots_taken == 0)


async def test_a_thread_that_still_decodes_keeps_the_slot_of_a_request_that_was_given_up(tiny_bundle: Path) -> None:
    async with house(tiny_bundle) as remote:
        gate, began = threading.Event(), threading.Event()
        pool = IntakePool(1)
        pipeline = remote.worker(pool)
        prepare = pipeline._prepare

        def slow(*args: Any, **more: Any) -> Prepared:
            began.set()
            assert gate.wait(PATIENCE)
            return prepare(*args, **more)

        pipeline._prepare = slow
        await pipeline.start()
        backend = remote.backends[-1]
        call = asyncio.ensure_future(ask(pipeline, 0))
        assert await asyncio.to_thread(began.wait, PATIENCE)
        call.cancel()
        await asyncio.wait((call,))
        assert backend.slots_taken == 1
        gate.set()
        await remote.until(lambda: backend.slots_taken == 0)
        pool.close()


async def test_errors_of_the_engine_arrive_as_they_are(tiny_bundle: Path) -> None:
    async with house(tiny_bundle, max_queue=1) as remote:
        remote.runtime.poisoned = lambda item: ValueError("no") if has(0, [item]) else None
        assert isinstance(await outcome(ask(remote.pipelines[0], 0)), InferenceFailed)
        remote.runtime.poisoned = lambda item: None
        remote.runtime.shut()
        running = asyncio.ensure_future(ask(remote.pipelines[0], 0))
        await remote.runtime.entered()
        waiting = asyncio.ensure_future(ask(remote.pipelines[0], 1))
        await remote.until(lambda: remote.local and remote.local.waiting == 1)
        refused = await outcome(ask(remote.pipelines[0], 2))
        assert isinstance(refused, QueueFull)
        assert refused.retry_after
        remote.runtime.gate.set()
        await asyncio.gather(running, waiting)


async def test_slots_bound_what_a_worker_sends(tiny_bundle: Path) -> None:
    async with house(tiny_bundle, max_in_flight=1, batch_sizes=(1,), max_explanations=0) as remote:
        (backend,) = remote.backends
        served = remote.pipelines[0].registry.default()
        with ExitStack() as held:
            for _ in range(3):
                held.enter_context(backend.slot(served))
            with pytest.raises(QueueFull):
                held.enter_context(backend.slot(served))
        assert isinstance(await outcome(ask(remote.pipelines[0], 0)), Answer)


async def test_an_engine_that_ends_is_told_at_once_and_its_successor_answers_what_it_left(tiny_bundle: Path) -> None:
    async with house(tiny_bundle, workers=2) as remote:
        remote.runtime.shut()
        calls = [asyncio.ensure_future(ask(remote.pipelines[n % 2], n)) for n in range(6)]
        await remote.runtime.entered()
        await remote.until(lambda: remote.local and remote.local.waiting == 5)
        await remote.end_engine()
        await remote.until(lambda: [pipeline.state for pipeline in remote.pipelines] == ["failed", "failed"])
        refused = await outcome(ask(remote.pipelines[0], 0))
        assert isinstance(refused, EngineUnavailable)
        assert refused.retry_after
        assert not any(call.done() for call in calls)
        await remote.start_engine()
        answers = await asyncio.wait_for(asyncio.gather(*calls), PATIENCE)
        assert [pipeline.state for pipeline in remote.pipelines] == ["ready", "ready"]
    async with running(tiny_bundle) as bench:
        for seed, answer in enumerate(answers):
            alone = await bench.pipeline.predict(parts(seed), ALL)
            np.testing.assert_allclose(numbers(answer), numbers(alone), atol=2e-5)


def has(seed: int, items: Sequence[Item]) -> bool:
    return any("image" in item and np.array_equal(item["image"], picture(seed)) for item in items)


async def test_what_ends_every_engine_is_found_refused_alone_and_not_let_in_again(tiny_bundle: Path) -> None:
    """1 to 4 run together when an engine ends; it is 2 that ends them. 5 only waits."""

    def send(seed: int) -> asyncio.Future[Answer]:
        return asyncio.ensure_future(remote.pipelines[0].predict({"image": png(seed), "text": "red"}, ALL))

    async with house(tiny_bundle) as remote:
        (backend,) = remote.backends
        remote.runtime.shut()
        calls = [send(0)]
        await remote.runtime.entered()
        calls += [send(seed) for seed in range(1, 6)]
        await remote.until(lambda: remote.local and remote.local.waiting == 5)
        remote.runtime.shuts_at = lambda items: len(items) == 4
        remote.runtime.gate.set()
        # The forward of 0 is over by then, but its answer may still be on its way.
        await remote.until(lambda: remote.runtime.stands.is_set() and calls[0].done())
        await remote.end_engine()
        assert not any(call.done() for call in calls[1:])

        remote.shuts_at = lambda items: has(2, items)
        await remote.start_engine()
        loaded = len(remote.runtime.calls)
        await remote.until(remote.runtime.stands.is_set)
        assert [size for size, _ in remote.runtime.calls[loaded:]] == [1] * 2, "1 and 2, one by one"
        await remote.end_engine()
        refused = await outcome(calls[2])
        assert isinstance(refused, InferenceFailed)
        assert "ends whenever it runs this input" in refused.detail

        await remote.start_engine()
        await remote.until(lambda: remote.pipelines[0].state == "ready")
        for call in [*calls[:2], *calls[3:]]:
            assert isinstance(await outcome(call), Answer)
        assert isinstance(await outcome(send(2)), InferenceFailed)
        assert isinstance(await outcome(send(1)), Answer)
        assert not remote.runtime.stands.is_set()
        assert backend.slots_taken == 0


async def test_a_request_that_only_waits_outlives_engines_but_not_any_number_of_them(tiny_bundle: Path) -> None:
    async with house(tiny_bundle) as remote:
        remote.runtime.shuts_at = remote.shuts_at = lambda items: not has(0, items)
        calls = [asyncio.ensure_future(ask(remote.pipelines[0], seed)) for seed in (1, 2, 4, 0)]
        for ended in range(1, 6):
            await remote.until(remote.runtime.stands.is_set)
            await remote.until(lambda: remote.local and remote.local.waiting)
            assert not calls[-1].done()
            await remote.end_engine()
            if ended < 5:
                await remote.start_engine()
        refused = [await outcome(call) for call in (calls[0], calls[1], calls[-1])]
        assert [type(error) for error in refused] == [InferenceFailed, InferenceFailed, EngineUnavailable]
        assert isinstance(refused[-1], EngineUnavailable)
        assert refused[-1].retry_after
        assert not calls[2].done(), "it was run for the first time, and is to be run alone"
        remote.shuts_at = lambda items: False
        await remote.start_engine()
        assert isinstance(await outcome(calls[2]), Answer)


async def test_a_worker_that_goes_leaves_nothing_behind(tiny_bundle: Path) -> None:
    async with house(tiny_bundle, workers=2) as remote:
        remote.runtime.shut()
        first = asyncio.ensure_future(ask(remote.pipelines[0], 0))
        await remote.runtime.entered()
        lost = asyncio.ensure_future(ask(remote.pipelines[1], 1))
        await remote.until(lambda: remote.local and remote.local.waiting == 1)
        await remote.backends[1].stop(PATIENCE)
        await remote.until(lambda: remote.server and remote.server.workers == 1)
        assert remote.local
        await remote.until(lambda: remote.local and remote.local.waiting == 0)
        remote.runtime.gate.set()
        assert (await first).batch_size == 1
        lost.cancel()
        await asyncio.wait((lost,))


async def test_a_worker_waits_for_an_engine_that_is_not_there_yet(tiny_bundle: Path) -> None:
    remote = House(tiny_bundle)
    pipeline = remote.worker()
    starting = asyncio.create_task(pipeline.start())
    await settle()
    assert pipeline.state == "starting"
    await remote.start_engine()
    await asyncio.wait_for(starting, PATIENCE)
    assert pipeline.state == "ready"
    assert isinstance(await outcome(ask(pipeline, 0)), Answer)
    await pipeline.drain(PATIENCE)
    await remote.end_engine()
    remote.listener.close()


async def test_a_worker_that_is_stopped_before_there_is_an_engine_ends(tiny_bundle: Path) -> None:
    remote = House(tiny_bundle)
    pipeline = remote.worker()
    starting = asyncio.create_task(pipeline.start())
    await settle()
    await asyncio.wait_for(pipeline.drain(0.0), PATIENCE)
    await asyncio.wait_for(starting, PATIENCE)
    assert pipeline.state == "draining"
    remote.listener.close()


async def test_strangers_and_nonsense_do_not_disturb(tiny_bundle: Path) -> None:
    async with house(tiny_bundle) as remote:
        for said in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x02\0\0\0\x01{}", b"\x01\0\0\0\x04x"):
            with socket.socket(socket.AF_UNIX) as stranger:
                stranger.connect(remote.address)
                stranger.setblocking(False)
                if said:
                    await asyncio.get_running_loop().sock_sendall(stranger, said)
                    assert await asyncio.get_running_loop().sock_recv(stranger, 1 << 16)
        assert isinstance(await outcome(ask(remote.pipelines[0], 0)), Answer)
        assert remote.server
        assert remote.server.workers == 1


async def test_a_worker_with_other_bundles_is_refused(
    tiny_bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from tests.support.tiny import make_tiny_bundle

    async with house(tiny_bundle) as remote:
        other = remote.worker(bundles=(make_tiny_bundle(tmp_path / "other", seed=1),))
        starting = asyncio.create_task(other.start())
        await remote.until(lambda: "need a restart" in caplog.text)
        assert other.state == "starting"
        await other.drain(0.0)
        await starting
