"""Who gets in: what the pace of the answers says about the wait, and what is done about it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import QueueFull
from app.serving.admission import Admission, Pace, Ticket
from app.serving.types import Answer
from tests.app.serving.bench import ask, outcome, running, settle

FOREVER = float("inf")
CROWD = Pace.CROWD


def paced(seconds: float, in_flight: int = 100, count: int = 200) -> Pace:
    """A pace learned from requests that found so many in flight and took so many seconds each of the service."""
    pace = Pace()
    for _ in range(count):
        pace.observe(seconds * in_flight, in_flight)
    return pace


def admission(max_wait: float = 1.0, max_batch: int = 32, pace: Pace | None = None) -> tuple[Admission, Counter[str]]:
    refused: Counter[str] = Counter()
    subject = Admission(
        1000, 1000, max_wait=max_wait, max_batch=max_batch, on_refusal=lambda bound: refused.update([bound])
    )
    if pace:
        subject.pace = pace
    return subject, refused


def fill(subject: Admission, most: int = 1000) -> list[Ticket]:
    """Let in as many as get in."""
    tickets = []
    try:
        while len(tickets) < most:
            tickets.append(subject.enter(1, FOREVER))
            tickets[-1].begin()
    except QueueFull:
        pass
    return tickets


def test_nothing_is_known_at_first_and_little_from_few() -> None:
    assert Pace().wait(500) == 0
    alone = Pace()
    for _ in range(1000):
        alone.observe(3.0, CROWD - 1)
    assert alone.wait(500) == 0


def test_the_first_few_slow_answers_are_no_verdict() -> None:
    pace = Pace()
    for _ in range(CROWD - 1):
        pace.observe(30.0, CROWD)
    assert pace.wait(500) == 0
    pace.observe(30.0, CROWD)
    assert pace.wait(500) > 0


@given(st.floats(1e-5, 1.0), st.integers(CROWD, 500), st.integers(CROWD, 500))
def test_the_wait_is_that_of_those_in_flight(seconds: float, learned_at: int, asked_at: int) -> None:
    pace = paced(seconds, learned_at)
    assert pace.wait(asked_at) == pytest.approx(seconds * asked_at)
    assert pace.wait(CROWD - 1) == 0


def test_the_pace_follows_a_machine_that_gets_slower_or_faster() -> None:
    pace = paced(0.002)
    for factor in (5.0, 0.2):
        for _ in range(500):
            pace.observe(0.002 * factor * 50, 50)
        assert pace.wait(100) == pytest.approx(0.2 * factor, rel=0.01)


@pytest.mark.parametrize(
    ("pace", "max_wait", "max_batch", "let_in"),
    [
        (None, 0.001, 1, 1000),  # nothing is known: the count alone binds
        (0.05, 1.0, 32, 21),  # slow: by the wait
        (0.002, 1.0, 32, 128),  # four batches take a quarter second: those, and no more
        (0.001, 1.0, 32, 251),  # faster: a quarter second's worth
        (0.0001, 1.0, 32, 1000),
        (10.0, 1.0, 32, CROWD),  # whatever the pace
    ],
)  # fmt: skip
def test_as_many_get_in_as_can_be_answered_in_time(
    pace: float | None, max_wait: float, max_batch: int, let_in: int
) -> None:
    subject, refused = admission(max_wait, max_batch, paced(pace) if pace else None)
    assert abs(len(fill(subject)) - let_in) <= 1
    assert set(refused) == ({"wait"} if let_in < 1000 else set())


def test_who_is_refused_hears_when_to_come_back() -> None:
    for pace, expected in ((0.002, 1.0), (0.5, 8.0), (100.0, 60.0)):
        subject, _ = admission(pace=paced(pace))
        fill(subject)
        with pytest.raises(QueueFull) as refused:
            subject.enter(1, FOREVER)
        assert refused.value.retry_after == pytest.approx(expected, rel=0.1)


def test_a_deadline_before_the_answer_is_refused_at_once() -> None:
    subject, refused = admission(max_wait=10.0, pace=paced(0.05))
    fill(subject, 100)
    with pytest.raises(QueueFull, match="deadline"):
        subject.enter(1, time.monotonic() + 1.0)
    assert refused == {"deadline": 1}
    with subject.enter(1, time.monotonic() + 60.0):
        assert subject.requests == 101


def test_places_given_back_let_others_in() -> None:
    subject, _ = admission(pace=paced(0.05))
    tickets = fill(subject)
    for ticket in tickets[:3]:
        with ticket:
            pass
    assert len(fill(subject)) == 3


@pytest.mark.anyio
async def test_a_service_that_is_slow_lets_in_what_it_can_answer(tiny_bundle: Path) -> None:
    async with running(tiny_bundle, max_queue=200, max_wait=0.5) as bench:
        bench.pipeline._admission.pace = paced(0.01)
        bench.runtime.shut()
        calls = [ask(bench, seed) for seed in range(80)]
        await settle()
        bench.runtime.gate.set()
        ends = Counter([type(await outcome(call)) for call in calls])
        assert ends == {Answer: CROWD, QueueFull: 80 - CROWD}
        assert bench.value("refusals_total", bound="wait") == 80 - CROWD
        assert bench.value("expected_wait_seconds_count") == 80
        assert bench.value("expected_wait_seconds_sum") > 0


@pytest.mark.anyio
async def test_the_pace_is_learned_from_answers_in_a_crowd_alone(tiny_bundle: Path) -> None:
    async with running(tiny_bundle, max_queue=200, max_wait=60.0) as bench:
        pace = bench.pipeline._admission.pace
        for seed in range(3):
            await ask(bench, seed)
        assert pace.wait(100) == 0
        bench.runtime.shut()
        calls = [ask(bench, seed) for seed in range(3 * CROWD)]
        await asyncio.sleep(0.05)
        bench.runtime.gate.set()
        for call in calls:
            assert isinstance(await outcome(call), Answer)
        assert pace.wait(3 * CROWD) >= 0.05
