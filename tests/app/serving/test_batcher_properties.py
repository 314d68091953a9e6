"""The batcher's rules, as properties that hold whatever arrives."""

from __future__ import annotations

from collections import Counter

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.serving.batcher import Batcher, Step

SIZES, MAX_QUEUE, MAX_PADDING, ITEM_LENGTH = (1, 2, 4), 12, 0.25, 8
BATCH_LENGTH = 12

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
            batch_length=BATCH_LENGTH,
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
        assert padding <= MAX_PADDING * work + BATCH_LENGTH
        assert min(in_time, key=self.rank) in run
        first = min(in_time, key=self.rank)
        line = sorted((id for id in in_time if self.kind(id)[2] == self.kind(first)[2]), key=self.rank)
        alike = [id for id in line[: 2 * SIZES[-1]] if self.kind(id)[0] == self.kind(first)[0]]
        assert not any(len(run) < size <= len(alike) for size in SIZES), "a larger size could be filled"
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
