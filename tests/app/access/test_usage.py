"""A key's rate and its requests in flight: exact, alone and between processes."""

from __future__ import annotations

import os
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.access.keys import Key, make_key
from app.access.usage import Usage, share
from app.errors import ConcurrencyExceeded, RateExceeded


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def key(rate: float | None = None, concurrent: int | None = None) -> Key:
    return make_key("shop", (), ["predict"], rate, concurrent)[1]


def asked(usage: Usage, key: Key, times: int) -> int:
    """How many of so many requests, each over at once, were let in."""
    let_in = 0
    for _ in range(times):
        with suppress(RateExceeded):
            usage.enter(key)
            usage.leave(key)
            let_in += 1
    return let_in


def test_a_second_s_worth_at_once_and_then_the_rate() -> None:
    usage, clock = Usage(now=(clock := Clock())), clock
    limited = key(rate=5)
    assert asked(usage, limited, 20) == 5
    clock.now += 0.6
    assert asked(usage, limited, 20) == 3
    clock.now += 100
    assert asked(usage, limited, 20) == 5


def test_a_rate_below_one_a_second_lets_one_in_at_a_time() -> None:
    usage, clock = Usage(now=(clock := Clock())), clock
    slow = key(rate=0.1)
    assert asked(usage, slow, 3) == 1
    clock.now += 9.9
    assert asked(usage, slow, 3) == 0
    clock.now += 0.2
    assert asked(usage, slow, 3) == 1


def test_whoever_waits_as_long_as_told_is_let_in_and_nobody_sooner() -> None:
    usage, clock = Usage(now=(clock := Clock())), clock
    limited = key(rate=4)
    assert asked(usage, limited, 4) == 4
    with pytest.raises(RateExceeded) as refused:
        usage.enter(limited)
    assert refused.value.retry_after == pytest.approx(0.25)
    clock.now += 0.24
    assert asked(usage, limited, 1) == 0
    clock.now += 0.011
    assert asked(usage, limited, 1) == 1


@given(
    rate=st.floats(0.2, 200), steps=st.lists(st.tuples(st.floats(0, 3), st.integers(0, 40)), min_size=1, max_size=30)
)
def test_over_any_time_no_more_than_the_rate_and_one_bucket(rate: float, steps: list[tuple[float, int]]) -> None:
    usage, clock = Usage(now=(clock := Clock())), clock
    limited, began, let_in = key(rate=rate), 1000.0, 0
    for pause, times in steps:
        clock.now += pause
        let_in += asked(usage, limited, times)
        assert let_in <= (clock.now - began) * rate + max(1.0, rate) + 1e-6


def test_so_many_in_flight_and_no_more() -> None:
    usage, limited, other = Usage(), key(concurrent=2), key(concurrent=1)
    other = other.model_copy(update={"id": "001" if limited.id != "001" else "002"})
    usage.enter(limited)
    usage.enter(limited)
    with pytest.raises(ConcurrencyExceeded, match="2 requests in flight") as refused:
        usage.enter(limited)
    assert refused.value.retry_after == 1
    usage.enter(other)
    usage.leave(limited)
    usage.enter(limited)
    assert (usage.in_flight(limited), usage.in_flight(other)) == (2, 1)


def test_a_request_that_is_refused_uses_nothing_up() -> None:
    usage, clock = Usage(now=(clock := Clock())), clock
    both = key(rate=2, concurrent=1)
    usage.enter(both)
    for _ in range(5):
        with pytest.raises(ConcurrencyExceeded):
            usage.enter(both)
    usage.leave(both)
    usage.enter(both)
    usage.leave(both)
    with pytest.raises(RateExceeded):
        usage.enter(both)
    assert usage.in_flight(both) == 0


def test_workers_share_what_a_key_may_do() -> None:
    fd, clock = share(3), Clock()
    workers = [Usage(fd, workers=3, worker=number, now=clock) for number in range(3)]
    limited = key(rate=6, concurrent=3)
    assert sum(asked(worker, limited, 4) for worker in workers) == 6
    clock.now += 10
    for worker in workers:
        worker.enter(limited)
    for worker in workers:
        with pytest.raises(ConcurrencyExceeded):
            worker.enter(limited)
    os.close(fd)


def test_what_a_killed_worker_had_in_flight_is_forgotten_when_another_takes_its_place() -> None:
    fd = share(2)
    first, second = (Usage(fd, workers=2, worker=number) for number in range(2))
    limited = key(concurrent=2)
    first.enter(limited)
    second.enter(limited)
    again = Usage(fd, workers=2, worker=1)
    assert first.in_flight(limited) == 1
    again.enter(limited)
    os.close(fd)


def test_processes_that_ask_at_once_get_together_exactly_what_the_key_may() -> None:
    """Four real processes and one bucket, at a moment that stands still: no request is lost or counted twice."""
    count, limited = 4, key(rate=2000)
    fd = share(count)
    start_reading, start = os.pipe()

    def run(number: int) -> int:
        reading, writing = os.pipe()
        if not (pid := os.fork()):
            usage = Usage(fd, workers=count, worker=number, now=lambda: 1000.0)
            os.close(start)
            os.read(start_reading, 1)  # until the parent closes its end
            os.write(writing, str(asked(usage, limited, 1000)).encode())
            os._exit(0)
        os.close(writing)
        return reading if pid else -1

    results = [run(number) for number in range(count)]
    os.close(start_reading)
    os.close(start)
    let_in = [int(os.read(reading, 20)) for reading in results]
    for reading in results:
        os.close(reading)
        os.wait()
    os.close(fd)
    assert sum(let_in) == 2000
