"""The batcher's rules, as properties that hold whatever arrives."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.serving.batcher import Batcher, Step

MAX_BATCH, MAX_QUEUE, MAX_PADDING, ITEM_LENGTH = 4, 6, 0.25, 8

# How long a machine takes, busy as it may be, is no property of the batcher.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Service(RuleBasedStateMachine):
    """Random arrivals, cancellations, passing time and finishing batches."""

    slots = 1

    def __init__(self) -> None:
        super().__init__()
        self.batcher: Batcher[int] = Batcher(
            max_batch=MAX_BATCH,
            max_queue=MAX_QUEUE,
            slots=self.slots,
            max_padding=MAX_PADDING,
            item_length=ITEM_LENGTH,
        )
        self.now = 0.0
        self.added: dict[int, dict[str, float]] = {}
        self.ends: Counter[tuple[int, str]] = Counter()
        self.waiting: set[int] = set()
        self.batches = 0

    def take(self, step: Step[int]) -> None:
        before = set(self.waiting)
        for end, ids in (("run", step.run), ("expired", step.expired), ("refused", step.refused)):
            for id in ids:
                self.ends[id, end] += 1
                self.waiting.discard(id)
        for id in step.expired:
            assert self.added[id]["deadline"] <= self.now
        if not step.run:
            return
        self.batches += 1
        items = [self.added[id] for id in step.run]
        assert len(items) <= MAX_BATCH
        assert len({item["group"] for item in items}) == 1
        assert all(item["deadline"] > self.now for item in items)
        longest = max(item["length"] for item in items)
        padding = sum(longest - item["length"] for item in items)
        assert padding <= MAX_PADDING * len(items) * (ITEM_LENGTH + longest)
        in_time = [id for id in before if self.added[id]["deadline"] > self.now]
        assert min(in_time, key=self.rank) in step.run
        for id in step.run:  # first come, first served among equals
            equals = [other for other in in_time if self.kind(other) == self.kind(id) and other < id]
            assert set(equals) <= set(step.run)

    def rank(self, id: int) -> tuple[float, int]:
        return self.added[id]["arrival"] - self.added[id]["priority"], id

    def kind(self, id: int) -> tuple[float, ...]:
        item = self.added[id]
        return item["length"], item["priority"], item["group"]

    @rule(
        length=st.integers(0, 24),
        patience=st.one_of(st.just(float("inf")), st.integers(-1, 8)),
        priority=st.integers(-1, 2),
        group=st.integers(0, 1),
    )
    def arrive(self, length: int, patience: float, priority: int, group: int) -> None:
        id = len(self.added)
        deadline = self.now + patience
        self.added[id] = {
            "length": length, "deadline": deadline, "priority": priority, "group": group, "arrival": self.now,
        }  # fmt: skip
        self.waiting.add(id)
        room = len(self.batcher) < MAX_QUEUE or any(self.added[i]["deadline"] <= self.now for i in self.waiting)
        step = self.batcher.add(id, self.now, length, deadline, priority, group)
        assert not (room and step.refused), "refused although there was room"
        self.take(step)

    @precondition(lambda self: self.added)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(sorted(self.added)))
        assert self.batcher.cancel(id) == (id in self.waiting)
        if id in self.waiting:
            self.ends[id, "cancelled"] += 1
            self.waiting.discard(id)

    @rule(seconds=st.integers(1, 4))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @precondition(lambda self: self.batcher.running)
    @rule()
    def finish(self) -> None:
        self.batches -= 1
        self.take(self.batcher.engine_free(self.now))

    @invariant()
    def keeps_count(self) -> None:
        assert len(self.batcher) == len(self.waiting) <= MAX_QUEUE
        assert self.batcher.running == self.batches <= self.slots

    @invariant()
    def never_idles_while_something_waits(self) -> None:
        assert not self.waiting or self.batcher.running == self.slots

    @invariant()
    def each_ends_at_most_once(self) -> None:
        assert all(count == 1 for count in self.ends.values())
        assert len({id for id, _ in self.ends}) == len(self.ends)

    def teardown(self) -> None:
        for _ in range(len(self.added) + 1):
            if self.batcher.running:
                self.finish()
        assert {id for id, _ in self.ends} == set(self.added), "some never ended"
        assert self.batcher.running == 0


class TwoSlotService(Service):
    """The same, where the engine takes a second batch while one runs."""

    slots = 2


TestOneSlot = Service.TestCase
TestTwoSlots = TwoSlotService.TestCase
TestOneSlot.settings = TestTwoSlots.settings = settings(UNHURRIED, max_examples=120, stateful_step_count=40)


def batcher(**options: int | float) -> Batcher[str]:
    return Batcher(**{"max_batch": 4, "max_queue": 8, **options})  # type: ignore[arg-type]


def test_a_lone_request_runs_at_once() -> None:
    assert batcher().add("a", 0.0, 5).run == ("a",)


def test_a_batch_forms_while_the_engine_is_busy() -> None:
    subject = batcher()
    subject.add("a", 0.0, 5)
    for name in "bcdef":
        assert subject.add(name, 0.1, 5) == Step()
    assert subject.engine_free(1.0).run == ("b", "c", "d", "e")
    assert subject.engine_free(2.0).run == ("f",)
    assert subject.engine_free(3.0) == Step()


def test_similar_lengths_run_together() -> None:
    subject = batcher(item_length=0, max_padding=0.2)
    subject.add("running", 0.0, 1)
    for name, length in (("short", 4), ("long", 40), ("short too", 5), ("long too", 38)):
        subject.add(name, 0.0, length)
    assert subject.engine_free(1.0).run == ("short", "short too")
    assert subject.engine_free(2.0).run == ("long", "long too")


def test_a_full_batch_leaves_the_least_similar_behind() -> None:
    subject = batcher(max_batch=3)
    subject.add("running", 0.0, 1)
    for name, length in (("a", 10), ("b", 14), ("c", 11), ("d", 9)):
        subject.add(name, 0.0, length)
    assert set(subject.engine_free(1.0).run) == {"a", "c", "d"}


@UNHURRIED
@given(st.lists(st.integers(0, 30), min_size=1, max_size=8), st.integers(31, 60))
def test_the_oldest_is_not_starved_by_better_fitting_newcomers(newcomers: list[int], length: int) -> None:
    subject: Batcher[int] = Batcher(max_batch=2, max_queue=100, item_length=0, max_padding=0.1)
    subject.add(-1, 0.0, 1)
    subject.add(-2, 0.0, length)
    for id, shorter in enumerate(newcomers):
        subject.add(id, 0.5, shorter)
    assert -2 in subject.engine_free(1.0).run


def test_priority_overtakes_but_does_not_starve() -> None:
    subject = batcher(max_batch=1, priority_seconds=2.0)
    subject.add("running", 0.0, 1)
    subject.add("patient", 0.0, 1)
    subject.add("urgent", 1.0, 1, priority=1)
    subject.add("urgent but late", 2.5, 1, priority=1)
    order = [subject.engine_free(3.0).run[0] for _ in range(3)]
    assert order == ["urgent", "patient", "urgent but late"]


def test_groups_do_not_mix() -> None:
    subject = batcher()
    subject.add("running", 0.0, 1, group="x")
    for name, group in (("a", "x"), ("b", "y"), ("c", "x")):
        subject.add(name, 0.0, 1, group=group)
    assert subject.engine_free(1.0).run == ("a", "c")
    assert subject.engine_free(2.0).run == ("b",)


def test_a_full_queue_refuses_and_the_expired_make_room() -> None:
    subject = batcher(max_queue=2)
    subject.add("running", 0.0, 1)
    subject.add("a", 0.0, 1, deadline=5.0)
    subject.add("b", 0.0, 1)
    assert subject.add("c", 1.0, 1) == Step(refused=("c",))
    assert subject.add("d", 5.0, 1) == Step(expired=("a",))
    assert subject.engine_free(6.0).run == ("b", "d")


def test_what_expired_does_not_run() -> None:
    subject = batcher()
    assert subject.add("late already", 1.0, 1, deadline=1.0) == Step(expired=("late already",))
    subject.add("running", 1.0, 1)
    subject.add("a", 1.0, 1, deadline=2.0)
    subject.add("b", 1.0, 1, deadline=3.0)
    assert subject.engine_free(2.0) == Step(run=("b",), expired=("a",))


def test_cancelled_requests_do_not_run() -> None:
    subject = batcher()
    subject.add("running", 0.0, 1)
    subject.add("a", 0.0, 1)
    assert subject.cancel("a")
    assert not subject.cancel("a")
    assert not subject.cancel("running")
    assert subject.engine_free(1.0) == Step()


def test_misuse_is_an_error() -> None:
    subject = batcher()
    with pytest.raises(RuntimeError, match="no batch"):
        subject.engine_free(0.0)
    subject.add("running", 0.0, 1)
    subject.add("a", 0.0, 1)
    with pytest.raises(ValueError, match="waits already"):
        subject.add("a", 0.0, 1)
    with pytest.raises(ValueError, match="1 or more"):
        batcher(max_batch=0)
