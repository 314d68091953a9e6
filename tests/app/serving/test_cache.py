"""Identical requests: kept answers, twins in flight, and what one of them may do to another, which is nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import DeadlineExceeded, InferenceFailed, ServiceError
from app.serving.cache import Cache, key_of
from app.serving.types import Answer, Options
from tests.app.serving.bench import PATIENCE, settle

pytestmark = pytest.mark.anyio

KEY, OTHER = b"key", b"other"


def answer(label: str = "red", size: int = 0) -> Answer:
    return Answer(
        model="tiny",
        version="1",
        modalities=("image", "text"),
        predictions={"colour": {"label": label, "confidence": 0.1 + 0.2, "pad": "x" * size}},
        truncated=("text",),
        timings={"run": 1.0},
        batch_size=3,
    )


class Work:
    """Something to be done, that ends when the test says so."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.begun = 0
        self.running: list[asyncio.Future[Answer]] = []

    async def __call__(self) -> Answer:
        self.begun += 1
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.running.append(future)
        return await future

    def ask(self, key: bytes = KEY) -> asyncio.Task[Answer]:
        return asyncio.create_task(self.cache.answer(key, self))


def made(max_bytes: int = 10_000) -> tuple[Cache, Work, Counter[str]]:
    events: Counter[str] = Counter()
    cache = Cache(max_bytes, lambda event: events.update([event]))
    return cache, Work(cache), events


async def done(cache: Cache, key: bytes, result: Answer) -> Answer:
    """Ask for what is done at once."""

    async def work() -> Answer:
        return result

    return await cache.answer(key, work)


async def test_a_second_asking_is_answered_without_work() -> None:
    _, work, events = made()
    first = work.ask()
    await settle()
    work.running[0].set_result(answer())
    assert await first == answer()
    again = await work.ask()
    assert work.begun == 1
    assert again == replace(answer(), timings=again.timings, batch_size=0)
    assert list(again.timings) == ["cache"]
    assert 0 <= again.timings["cache"] < PATIENCE
    assert events == {"miss": 1, "hit": 1}


async def test_what_one_does_with_its_answer_is_not_seen_by_another() -> None:
    cache, _, _ = made()
    await done(cache, KEY, answer())
    (await done(cache, KEY, answer())).predictions["colour"]["label"] = "spoilt"
    assert (await done(cache, KEY, answer())).predictions == answer().predictions


async def test_twins_are_worked_on_once_and_each_has_the_answer() -> None:
    _, work, events = made()
    twins = [work.ask() for _ in range(20)]
    await settle()
    assert work.begun == 1
    work.running[0].set_result(answer())
    answers = await asyncio.gather(*twins)
    assert [one.predictions for one in answers] == [answer().predictions] * 20
    assert len({id(one.predictions) for one in answers}) == 20
    assert events == {"miss": 1, "joined": 19}


async def test_different_keys_are_worked_on_side_by_side() -> None:
    _, work, _ = made()
    calls = [work.ask(), work.ask(OTHER)]
    await settle()
    assert work.begun == 2
    for future, label in zip(work.running, ("red", "blue"), strict=True):
        future.set_result(answer(label))
    assert [(await call).predictions["colour"]["label"] for call in calls] == ["red", "blue"]


async def test_a_twin_takes_over_from_one_that_was_cancelled() -> None:
    _, work, events = made()
    first, second, third = work.ask(), work.ask(), work.ask()
    await settle()
    first.cancel()
    await settle()
    assert first.cancelled()
    assert work.begun == 2
    work.running[1].set_result(answer())
    assert (await second).batch_size == 3
    assert (await third).batch_size == 0
    assert events == {"miss": 2, "joined": 1}


async def test_a_twin_takes_over_from_one_whose_deadline_passed() -> None:
    _, work, _ = made()
    first, second = work.ask(), work.ask()
    await settle()
    work.running[0].set_exception(DeadlineExceeded("late"))
    with pytest.raises(DeadlineExceeded):
        await first
    await settle()
    work.running[1].set_result(answer())
    assert (await second).predictions == answer().predictions


async def test_a_twin_that_is_cancelled_disturbs_nobody() -> None:
    _, work, _ = made()
    first, second, third = work.ask(), work.ask(), work.ask()
    await settle()
    second.cancel()
    await settle()
    assert second.cancelled()
    work.running[0].set_result(answer())
    assert (await first).predictions == (await third).predictions
    assert work.begun == 1


async def test_each_twin_keeps_its_own_deadline() -> None:
    _, work, _ = made()
    first = work.ask()
    await settle()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await work.cache.answer(KEY, work)
    work.running[0].set_result(answer())
    assert (await first).predictions == answer().predictions


async def test_an_error_is_its_twins_too_and_is_not_kept() -> None:
    cache, work, _ = made()
    twins = [work.ask() for _ in range(3)]
    await settle()
    work.running[0].set_exception(InferenceFailed("broken", retry_after=2.0))
    errors = await asyncio.gather(*twins, return_exceptions=True)
    for error in errors:
        assert isinstance(error, InferenceFailed)
        assert (error.detail, error.retry_after) == ("broken", 2.0)
    assert len({id(error) for error in errors}) == 3
    assert (cache.entries, cache.bytes) == (0, 0)
    assert await done(cache, KEY, answer()) == answer()


async def test_a_fault_of_the_service_leaves_the_twins_to_themselves() -> None:
    _, work, _ = made()
    first, second = work.ask(), work.ask()
    await settle()
    work.running[0].set_exception(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await first
    await settle()
    work.running[1].set_result(answer())
    assert (await second).predictions == answer().predictions


async def test_the_least_recently_used_makes_room() -> None:
    cache, _, events = made(max_bytes=3 * 1500)
    for key in (b"a", b"b", b"c"):
        await done(cache, key, answer(size=1000))
    await done(cache, b"a", answer("not asked"))
    await done(cache, b"d", answer(size=1000))
    assert (cache.entries, events["evicted"]) == (3, 1)
    events.clear()
    for key in (b"a", b"c", b"d"):
        await done(cache, key, answer())
    assert events == {"hit": 3}
    await done(cache, b"huge", answer(size=5000))
    assert cache.entries == 3


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 900)), max_size=60), st.integers(300, 3000))
async def test_it_holds_no_more_than_it_may_and_says_what_it_holds(asked: list[tuple[int, int]], most: int) -> None:
    cache, _, events = made(max_bytes=most)
    sizes: dict[int, int] = {}
    for key, size in asked:
        size = sizes.setdefault(key, size)
        assert (await done(cache, bytes([key]), answer(size=size))).predictions == answer(size=size).predictions
        assert 0 <= cache.bytes <= most
        assert (cache.bytes == 0) == (cache.entries == 0)
    assert events["hit"] + events["miss"] == len(asked)
    assert events["miss"] >= len(sizes)
    assert cache.entries <= events["miss"] - events["evicted"]


Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(st.sampled_from(["ask", "cancel", "answer", "late", "fail"]), st.integers(0, 5)), max_size=40
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
async def test_whatever_happens_everyone_ends_as_they_should(steps: list[Step]) -> None:
    """Cancelled only who was; late or failed only who worked or whose twin failed; the rest answered."""
    _, work, _ = made()
    calls: list[asyncio.Task[Answer]] = []
    cancelled: set[int] = set()
    broken = 0
    for action, number in [*steps, ("ask", 0)]:
        open_work = [future for future in work.running if not future.done()]
        if action == "ask":
            calls.append(work.ask(bytes([number % 2])))
        elif action == "cancel" and calls:
            if calls[number % len(calls)].cancel():
                cancelled.add(number % len(calls))
        elif open_work:
            future = open_work[number % len(open_work)]
            broken += action != "answer"
            errors: dict[str, ServiceError] = {"late": DeadlineExceeded("late"), "fail": InferenceFailed("bad")}
            future.set_exception(errors[action]) if action in errors else future.set_result(answer())
        await settle()
        assert len([future for future in work.running if not future.done()]) <= 2, "twins are worked on twice"
    while open_work := [future for future in work.running if not future.done()]:
        open_work[0].set_result(answer())
        await settle()
    ends: list[Any] = await asyncio.gather(*calls, return_exceptions=True)
    assert {number for number, end in enumerate(ends) if isinstance(end, asyncio.CancelledError)} == cancelled
    late = [end for end in ends if isinstance(end, DeadlineExceeded)]
    assert len(late) <= broken
    assert broken or all(isinstance(end, (Answer, asyncio.CancelledError)) for end in ends)
    assert work.cache._running == {}


PARTS = st.dictionaries(st.sampled_from(["image", "text"]), st.one_of(st.binary(max_size=4), st.text(max_size=4)))
ASKED = st.tuples(
    PARTS,
    st.builds(
        Options, top_k=st.integers(1, 3), coverage=st.sampled_from([None, 0.5, 0.9]), explain=st.booleans()
    ),
    st.sampled_from([("a",), ("a", "b"), ("b", "a"), ("a, b",)]),
    st.sampled_from(["one", "two"]),
)  # fmt: skip


@given(ASKED, ASKED)
def test_keys_are_the_same_for_the_same_request_alone(first: Any, second: Any) -> None:
    typed = [({name: (type(part), part) for name, part in asked[0].items()}, *asked[1:]) for asked in (first, second)]
    assert (key_of(*first) == key_of(*second)) == (typed[0] == typed[1])


def test_a_key_takes_any_text_and_any_order_of_parts() -> None:
    options = Options()
    key = key_of({"text": "\ud800", "image": b"1"}, options, ("a",), "one")
    assert key == key_of({"image": b"1", "text": "\ud800"}, options, ("a",), "one")
    assert key != key_of({"image": b"1", "text": "\ud801"}, options, ("a",), "one")
