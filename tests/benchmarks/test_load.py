"""The load generator sends what it should, times from when it should, and counts everything that happened."""

from __future__ import annotations

import asyncio
import itertools
import random

import numpy as np
import pytest

from benchmarks.load import Job, Record, arrivals, run, summarise
from benchmarks.servers import free_port
from tests.benchmarks.support import Asked, response, serving, small_uploads


async def at_once(asked: Asked) -> bytes:
    return response()


def test_a_closed_loop_keeps_each_client_busy_and_sends_no_body_twice() -> None:
    with serving(at_once) as server:
        result = run(Job(server.port, clients=3, warm=0, seconds=30, requests=41), small_uploads(5))
    assert result["answered"] == result["sent"] == len(server.asked) == 41
    assert server.connections == result["connections"] == 3
    assert server.most_under_way <= 3
    assert len({asked.body for asked in server.asked}) == 41
    assert {asked.title for asked in server.asked} == {f"title {number}" for number in range(5)}
    assert result["errors"] == result["refused"] == 0
    assert result["latency_ms"]["p50"] <= result["latency_ms"]["p99"] <= result["latency_ms"]["max"]


def test_each_answer_is_counted_to_its_own_request() -> None:
    delays = random.Random(0)

    async def in_any_order(asked: Asked) -> bytes:
        await asyncio.sleep(delays.random() / 50)
        return response(body=asked.title.encode())

    with serving(in_any_order) as server:
        job = Job(server.port, clients=8, warm=0, seconds=30, requests=60, bodies=True)
        result = run(job, small_uploads(60))
    assert sorted(upload for upload, _, _ in result["answers"]) == list(range(60))
    assert all(body == f"title {upload}" for upload, _, body in result["answers"])


def test_an_open_loop_sends_every_arrival_whether_or_not_others_are_answered() -> None:
    held = asyncio.Event()

    async def never(asked: Asked) -> bytes:
        await held.wait()
        return response()

    job = Job(0, rate=80, warm=0, seconds=0.5, drain=0.2, seed=3)
    expected = len(arrivals(job.rate, job.seconds, job.seed))
    with serving(never) as server:
        result = run(Job(server.port, rate=80, warm=0, seconds=0.5, drain=0.2, seed=3), small_uploads(4))
    assert result["sent"] == expected == result["connections"]
    assert result["errors_by_kind"] == {"unanswered": expected}
    assert result["answered"] == 0
    assert result["latency_ms"] is None


def test_a_slow_answer_has_a_long_latency() -> None:
    async def slow(asked: Asked) -> bytes:
        await asyncio.sleep(0.05)
        return response()

    with serving(slow) as server:
        closed = run(Job(server.port, clients=2, warm=0, seconds=30, requests=6), small_uploads(2))
        opened = run(Job(server.port, rate=40, warm=0, seconds=0.3), small_uploads(2))
    assert closed["latency_ms"]["p50"] >= 50
    assert opened["latency_ms"]["p50"] >= 50


def test_connections_are_used_again() -> None:
    with serving(at_once) as server:
        result = run(Job(server.port, rate=100, warm=0, seconds=0.6, seed=1), small_uploads(4))
    assert result["answered"] == result["sent"] == len(server.asked)
    assert server.connections < len(server.asked) / 2


def test_arrivals_are_a_poisson_process_of_the_rate_and_the_same_from_the_same_seed() -> None:
    times = arrivals(200, 50, seed=7)
    gaps = np.diff(times)
    assert times == arrivals(200, 50, seed=7)
    assert times != arrivals(200, 50, seed=8)
    assert len(times) == pytest.approx(200 * 50, abs=4 * np.sqrt(200 * 50))
    assert (gaps > 0).all()
    assert 0 <= times[0] <= times[-1] < 50
    # Gaps of a Poisson process are exponential: their deviation is their mean, and they do not depend on each other.
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)
    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 0.05


def test_latency_counts_from_the_moment_at_which_a_request_was_to_be_sent() -> None:
    record = Record()
    record.add(begun=10.0, sent=10.4, ended=10.5, status=200)
    result = summarise(record, 10.0, 11.0)
    assert result["latency_ms"]["p50"] == 500
    assert result["late_ms"]["p50"] == 400


def test_only_the_time_between_start_and_end_counts() -> None:
    record = Record()
    for begun, ended, status in (
        (0.9, 1.1, 200),  # its answer counts to the rate, its latency does not
        (1.2, 1.3, 200),
        (1.5, 2.4, 200),  # its latency counts, its answer came too late for the rate
        (1.6, 1.61, 429),
        (1.7, 1.73, 503),
        (1.8, 1.9, 500),
        (1.9, 9.0, -1),
        (2.1, 2.2, 200),
    ):
        record.add(begun, begun, ended, status)
    result = summarise(record, 1.0, 2.0)
    assert result["sent"] == 6
    assert result["answered"] == result["answered_per_second"] == 2
    assert result["latency_ms"]["max"] == pytest.approx(900)
    assert result["latency_ms"]["p50"] == pytest.approx(500)
    assert result["refused"] == 2
    assert result["refused_ms"]["p50"] == pytest.approx(20)
    assert result["errors_by_kind"] == {"unanswered": 1, "500": 1}


def test_every_kind_of_failure_is_counted() -> None:
    kinds = itertools.cycle((response(), response(429), response(500), None))

    async def in_turn(asked: Asked) -> bytes | None:
        return next(kinds)

    with serving(in_turn) as server:
        result = run(Job(server.port, clients=1, warm=0, seconds=30, requests=40), small_uploads(3))
    assert result["answered"] == result["refused"] == 10
    assert result["errors_by_kind"] == {"closed": 10, "500": 10}
    assert result["errors"] == 20


def test_nobody_listening_is_an_error_of_each_request() -> None:
    result = run(Job(free_port(), clients=2, warm=0, seconds=30, requests=4), small_uploads(2))
    assert result["errors_by_kind"] == {"closed": 4}


def test_an_answer_may_come_before_the_body_is_sent() -> None:
    uploads = [type(upload)(upload.image + bytes(4 << 20), upload.title) for upload in small_uploads(1)]
    with serving(at_once, before_body=response(413, b"too large", b"Connection: close\r\n")) as server:
        result = run(Job(server.port, clients=2, warm=0, seconds=30, requests=6), uploads)
    assert result["errors_by_kind"] == {"413": 6}
    assert server.connections == 6


def test_a_server_that_closes_after_each_answer_gets_a_new_connection_for_each() -> None:
    async def closing(asked: Asked) -> bytes:
        return response(headers=b"Connection: close\r\n")

    with serving(closing) as server:
        result = run(Job(server.port, clients=2, warm=0, seconds=30, requests=10), small_uploads(2))
    assert result["answered"] == server.connections == 10


@pytest.mark.parametrize("wrong", [{}, {"clients": 1, "rate": 1.0}, {"rate": 1.0, "requests": 3}])
def test_a_job_is_either_a_closed_loop_or_an_open_one(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="clients"):
        run(Job(1, **wrong), small_uploads(1))
