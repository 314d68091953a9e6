"""The batcher's rules, as properties that hold whatever arrives."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.serving.batcher import Batcher, Step

SIZES, MAX_QUEUE, MAX_PADDING, ITEM_LENGTH = (1, 2, 4), 8, 0.25, 8

# How long a machine takes, busy as it may be, is no property of the batcher.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Service(RuleBasedStateMachine):
    """Random arrivals, cancellations, passing time and finishing batches."""

    slots = 1

    def __init__(self) -> None:
        super().__init__()
        self.batcher: Batcher[int] = Batcher(
            sizes=SIZES,
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
        self.latest = 0

    def take(self, step: Step[int]) -> None:
        before = set(self.waiting)
        ran = [id for run in step.runs for id in run]
        for end, ids in (("run", ran), ("expired", step.expired), ("refused", step.refused)):
            for id in ids:
                self.ends[id, end] += 1
                self.waiting.discard(id)
        for id in step.expired:
            assert self.added[id]["deadline"] <= self.now
        in_time = [id for id in before if self.added[id]["deadline"] > self.now]
        for run in step.runs:
            self.batches += 1
            self.is_right(run, in_time)
            in_time = [id for id in in_time if id not in run]

    def is_right(self, run: tuple[int, ...], in_time: list[int]) -> None:
        """What holds for a batch of those that could have run."""
        items = [self.added[id] for id in run]
        assert len(items) in SIZES
        assert self.batches == 1 or len(items) >= self.latest
        self.latest = len(items)
        assert len({item["group"] for item in items}) == 1
        assert all(item["deadline"] > self.now for item in items)
        padding, work = self.padding(items)
        assert padding <= MAX_PADDING * work
        assert min(in_time, key=self.rank) in run
        for id in run:  # first come, first served among equals
            equals = [other for other in in_time if self.kind(other) == self.kind(id) and other < id]
            assert set(equals) <= set(run)

    def padding(self, items: list[dict[str, float]]) -> tuple[float, float]:
        """Tokens of padding in a batch, and tokens of work."""
        lengths = [item["length"] for item in items]
        longest = max(lengths)
        return sum(longest - length for length in lengths), len(items) * (ITEM_LENGTH + longest)

    def rank(self, id: int) -> tuple[float, int]:
        return self.added[id]["arrival"] - self.added[id]["priority"], id

    def kind(self, id: int) -> tuple[float, ...]:
        item = self.added[id]
        return item["length"], item["priority"], item["group"]

    @rule(
        length=st.integers(0, 8).map(lambda steps: 3 * steps),
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
        if id not in step.refused + step.expired:
            self.holds_back_no_batch_worth_staging()

    def holds_back_no_batch_worth_staging(self) -> None:
        """A free slot beside a running batch means that equals of the first in line do not make as large a one."""
        if self.waiting and self.batcher.running < self.slots:
            first = self.kind(min(self.waiting, key=self.rank))
            equals = [id for id in self.waiting if self.kind(id)[0] == first[0] and self.kind(id)[2] == first[2]]
            assert len(equals) < self.latest

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
        self.holds_back_no_batch_worth_staging()

    @invariant()
    def keeps_count(self) -> None:
        assert len(self.batcher) == len(self.waiting) <= MAX_QUEUE
        assert self.batcher.running == self.batches <= self.slots

    @invariant()
    def never_idles_while_something_waits(self) -> None:
        assert not self.waiting or self.batcher.running

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


def batcher(sizes: tuple[int, ...] = (1, 2, 3, 4), max_queue: int = 8, **options: int | float) -> Batcher[str]:
    return Batcher(sizes=sizes, max_queue=max_queue, **options)  # type: ignore[arg-type]


def test_a_lone_request_runs_at_once() -> None:
    assert batcher().add("a", 0.0, 5).runs == (("a",),)


def test_a_batch_forms_while_the_engine_is_busy() -> None:
    subject = batcher()
    subject.add("a", 0.0, 5)
    for name in "bcdef":
        assert subject.add(name, 0.1, 5) == Step()
    assert subject.engine_free(1.0).runs == (("b", "c", "d", "e"),)
    assert subject.engine_free(2.0).runs == (("f",),)
    assert subject.engine_free(3.0) == Step()


def test_a_batch_has_the_largest_size_that_can_be_filled() -> None:
    subject: Batcher[int] = Batcher(sizes=(1, 2, 4, 8), max_queue=100)
    subject.add(-1, 0.0, 5)
    for id in range(15):
        subject.add(id, 0.1, 5)
    sizes = [len(run) for turn in range(1, 6) for run in subject.engine_free(float(turn)).runs]
    assert sizes == [8, 4, 2, 1]


def test_fewer_than_the_smallest_size_do_not_wait_for_more() -> None:
    subject = batcher(sizes=(4,))
    assert subject.add("a", 0.0, 5).runs == (("a",),)
    for name in "bcd":
        subject.add(name, 0.1, 5)
    assert subject.engine_free(1.0).runs == (("b", "c", "d"),)


def test_a_batch_is_handed_over_early_when_it_is_as_large_as_the_one_before() -> None:
    subject = batcher(sizes=(1, 2, 4, 8), slots=2)
    assert subject.add("a", 0.0, 5).runs == (("a",),)
    assert subject.add("b", 0.0, 5).runs == (("b",),)
    for name in "cdefg":
        assert subject.add(name, 0.0, 5).runs == ()
    assert subject.engine_free(1.0).runs == (("c", "d", "e", "f"),)
    assert subject.engine_free(2.0).runs == ()  # c to f run, and g alone is fewer
    assert subject.add("h", 2.0, 5).runs == ()
    assert subject.engine_free(3.0).runs == (("g", "h"),)


def test_an_idle_engine_gets_two_batches_at_once_where_two_are_worth_it() -> None:
    subject = batcher()
    subject.add("one", 0.0, 5)
    for name in ("two", "three"):
        subject.add(name, 0.0, 5)
    assert subject.engine_free(1.0).runs == (("two", "three"),)
    subject.widen(2)
    subject.add("x", 1.0, 5, group="x")  # first in line, and fewer than run
    for name in "ab":
        assert subject.add(name, 1.1, 5).runs == ()
    assert subject.engine_free(2.0).runs == (("x",), ("a", "b"))


def test_more_slots_can_be_given_later() -> None:
    subject = batcher(sizes=(1, 2, 4))
    assert subject.add("a", 0.0, 5).runs == (("a",),)
    subject.add("b", 0.0, 5)
    subject.widen(2)
    assert subject.add("c", 0.0, 5).runs == (("b", "c"),)
    assert subject.running == 2
    subject.widen(1)
    subject.engine_free(1.0)
    subject.engine_free(1.0)
    assert subject.running == 0


def test_batchmates_are_chosen_from_enough_for_two_batches_not_from_all_that_wait() -> None:
    subject: Batcher[int] = Batcher(sizes=(1, 2, 4), max_queue=100, item_length=0, max_padding=0.1)
    subject.add(-1, 0.0, 5)
    for id, length in enumerate([5, 40, 40, 40, 40, 40, 40, 5, 5, 5, 5]):
        subject.add(id, 0.0, length)
    runs = [subject.engine_free(float(turn)).runs[0] for turn in range(1, 5)]
    assert runs == [(0, 7), (1, 2, 3, 4), (5, 6), (8, 9)]


def test_similar_lengths_run_together() -> None:
    subject = batcher(item_length=0, max_padding=0.2)
    subject.add("running", 0.0, 1)
    for name, length in (("short", 4), ("long", 40), ("short too", 5), ("long too", 38)):
        subject.add(name, 0.0, length)
    assert subject.engine_free(1.0).runs == (("short", "short too"),)
    assert subject.engine_free(2.0).runs == (("long", "long too"),)


def test_a_full_batch_leaves_the_least_similar_behind() -> None:
    subject = batcher(sizes=(1, 2, 3))
    subject.add("running", 0.0, 1)
    for name, length in (("a", 10), ("b", 14), ("c", 11), ("d", 9)):
        subject.add(name, 0.0, length)
    assert set(subject.engine_free(1.0).runs[0]) == {"a", "c", "d"}


@UNHURRIED
@given(st.lists(st.integers(0, 30), min_size=1, max_size=8), st.integers(31, 60))
def test_the_oldest_is_not_starved_by_better_fitting_newcomers(newcomers: list[int], length: int) -> None:
    subject: Batcher[int] = Batcher(sizes=(1, 2), max_queue=100, item_length=0, max_padding=0.1)
    subject.add(-1, 0.0, 1)
    subject.add(-2, 0.0, length)
    for id, shorter in enumerate(newcomers):
        subject.add(id, 0.5, shorter)
    assert -2 in subject.engine_free(1.0).runs[0]


def test_priority_overtakes_but_does_not_starve() -> None:
    subject = batcher(sizes=(1,), priority_seconds=2.0)
    subject.add("running", 0.0, 1)
    subject.add("patient", 0.0, 1)
    subject.add("urgent", 1.0, 1, priority=1)
    subject.add("urgent but late", 2.5, 1, priority=1)
    order = [subject.engine_free(3.0).runs[0][0] for _ in range(3)]
    assert order == ["urgent", "patient", "urgent but late"]


def test_groups_do_not_mix() -> None:
    subject = batcher()
    subject.add("running", 0.0, 1, group="x")
    for name, group in (("a", "x"), ("b", "y"), ("c", "x")):
        subject.add(name, 0.0, 1, group=group)
    assert subject.engine_free(1.0).runs == (("a", "c"),)
    assert subject.engine_free(2.0).runs == (("b",),)


def test_a_full_queue_refuses_and_the_expired_make_room() -> None:
    subject = batcher(max_queue=2)
    subject.add("running", 0.0, 1)
    subject.add("a", 0.0, 1, deadline=5.0)
    subject.add("b", 0.0, 1)
    assert subject.add("c", 1.0, 1) == Step(refused=("c",))
    assert subject.add("d", 5.0, 1) == Step(expired=("a",))
    assert subject.engine_free(6.0).runs == (("b", "d"),)


def test_what_expired_does_not_run() -> None:
    subject = batcher()
    assert subject.add("late already", 1.0, 1, deadline=1.0) == Step(expired=("late already",))
    subject.add("running", 1.0, 1)
    subject.add("a", 1.0, 1, deadline=2.0)
    subject.add("b", 1.0, 1, deadline=3.0)
    assert subject.engine_free(2.0) == Step(runs=(("b",),), expired=("a",))


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
        batcher(slots=0)
    for sizes in ((), (0, 1), (2, 1), (1, 1)):
        with pytest.raises(ValueError, match="ascending"):
            batcher(sizes=sizes)
