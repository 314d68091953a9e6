"""Uploads: what they hold while they are under way, and that none of them keeps others out for long."""

from __future__ import annotations

import pytest

from app.errors import QueueFull, TooLarge
from app.serving.admission import Admission, Pace

FOREVER = float("inf")
MIB = 1 << 20


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def made(clock: Clock, max_requests: int = 100, max_bytes: int = 100 * MIB) -> Admission:
    return Admission(max_requests, max_bytes, max_wait=1.0, max_batch=8, now=clock)


def test_an_upload_takes_a_place_when_it_is_complete() -> None:
    subject = made(Clock(), max_requests=20)
    # Two batches' worth of them count as places that will be taken; more may never be.
    tickets = [subject.enter(1000, FOREVER) for _ in range(100)]
    assert (subject.requests, subject.working) == (100, 0)
    for ticket in tickets[:20]:
        ticket.begin()
    with pytest.raises(QueueFull, match="requests"):
        tickets[20].begin()
    with pytest.raises(QueueFull, match="requests"):
        subject.enter(1000, FOREVER)
    for ticket in tickets:
        with ticket:
            pass
    assert (subject.requests, subject.working, subject.bytes) == (0, 0, 0)


def test_a_small_upload_holds_what_has_come_and_a_large_one_what_it_announced() -> None:
    subject = made(Clock())
    with subject.enter(MIB, FOREVER) as small, subject.enter(20 * MIB, FOREVER) as large:
        assert subject.bytes == 20 * MIB
        small.arrived(1000)
        large.arrived(MIB)
        assert subject.bytes == 20 * MIB + 1000
        large.arrived(21 * MIB)
        assert subject.bytes == 21 * MIB + 1000
    assert subject.bytes == 0


def test_large_uploads_leave_room_for_small_ones() -> None:
    subject = made(Clock())
    for _ in range(3):
        subject.enter(20 * MIB, FOREVER)
    with pytest.raises(QueueFull, match="bytes"):
        subject.enter(20 * MIB, FOREVER)
    with subject.enter(MIB, FOREVER) as small:
        small.arrived(MIB)


def test_after_a_second_an_upload_holds_what_has_come_where_others_need_the_room() -> None:
    clock = Clock()
    subject = made(clock)
    slow = [subject.enter(20 * MIB, FOREVER) for _ in range(3)]
    for ticket in slow:
        ticket.arrived(10)
    clock.now += 0.9
    with pytest.raises(QueueFull, match="bytes"):
        subject.enter(20 * MIB, FOREVER)
    clock.now += 0.2
    with subject.enter(20 * MIB, FOREVER):
        assert subject.bytes == 20 * MIB + 30
    slow[0].arrived(5 * MIB)
    assert subject.bytes == 5 * MIB + 20
    for ticket in slow:
        with ticket:
            pass
    assert subject.bytes == 0


def test_what_can_never_fit_is_too_large_whenever_that_shows() -> None:
    subject = made(Clock(), max_bytes=2 * MIB)
    with pytest.raises(TooLarge):
        subject.enter(3 * MIB, FOREVER)
    with subject.enter(2 * MIB, FOREVER) as alone, pytest.raises(QueueFull):
        alone.arrived(2 * MIB + 1)


def test_a_crowd_of_uploads_counts_for_the_wait_until_they_are_slow() -> None:
    clock = Clock()
    subject = made(clock)
    for _ in range(100):
        subject.pace.observe(0.1 * 20, 20)
    assert subject.expected_wait == 0
    for _ in range(Pace.CROWD):
        subject.enter(1000, FOREVER)
    assert subject.expected_wait == pytest.approx(0.1 * Pace.CROWD)
    with pytest.raises(QueueFull, match="long"):
        subject.enter(1000, FOREVER)
    clock.now += 1.1
    subject.enter(1000, FOREVER)
    assert subject.expected_wait == 0
