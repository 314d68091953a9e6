"""Which waiting requests run together, and when.

A policy and nothing else: no clock, no thread, no socket, nothing of the project. Its owner tells it the time, what
arrived, what was cancelled and when the engine is free; it answers with the batch to run and with those that came
too late. So it can be property-tested, and simulated at any scale.

The rules, in the order in which they bind:

1. Work-conserving: whenever the engine is free and something waits, a batch runs at once. Nothing waits for
   batchmates that may not come; batches grow because requests arrive while the engine is busy.
2. Nothing starves: the request of the smallest rank is in the next batch, always. The rank is its arrival time, less
   `priority_seconds` a step of priority, so that a request of low priority still overtakes later ones.
3. A batch is of one group, and of similar lengths: its other places go to the waiting requests nearest in length to
   the first, until it is full or its padding would exceed `max_padding`. Among equals: first come, first served.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

Id = TypeVar("Id", bound=Hashable)


@dataclass(frozen=True)
class Step(Generic[Id]):
    """What the owner has to do now. Each id that was added appears in one step at most, in one of the three."""

    run: tuple[Id, ...] = ()  # one batch; the engine counts as busy with it until `engine_free`
    expired: tuple[Id, ...] = ()  # their deadline passed while they waited
    refused: tuple[Id, ...] = ()  # the queue was full


@dataclass(frozen=True)
class _Waiting(Generic[Id]):
    id: Id
    rank: tuple[float, int]  # smaller runs earlier; the running number settles ties by order of arrival
    length: int
    deadline: float
    group: Hashable


class Batcher(Generic[Id]):
    """A bounded queue that makes batches. Not thread-safe: it has one owner.

    Times are seconds of one clock of the owner's choice. Lengths are tokens; `item_length` is what everything else of
    an item costs, in tokens, so that padding is judged by the work that it really adds.
    """

    def __init__(
        self,
        *,
        max_batch: int,
        max_queue: int,
        slots: int = 1,
        max_padding: float = 0.25,
        item_length: int = 32,
        priority_seconds: float = 1.0,
    ) -> None:
        """`slots`: batches that the engine takes at a time. `max_padding`: share of a batch's work, 0 to 1."""
        if min(max_batch, max_queue, slots) < 1:
            raise ValueError("max_batch, max_queue and slots must be 1 or more")
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._free = self._slots = slots
        self._max_padding = max_padding
        self._item_length = item_length
        self._priority_seconds = priority_seconds
        self._waiting: dict[Id, _Waiting[Id]] = {}
        self._arrivals = 0

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """How many batches the engine has."""
        return self._slots - self._free

    def widen(self, slots: int) -> None:
        """Let the engine have at least so many batches at a time, from the next step on."""
        added = max(0, slots - self._slots)
        self._slots += added
        self._free += added

    def add(
        self,
        id: Id,
        now: float,
        length: int,
        deadline: float = float("inf"),
        priority: int = 0,
        group: Hashable = None,
    ) -> Step[Id]:
        """A prepared request arrived. Raises ValueError for an id that waits already."""
        if id in self._waiting:
            raise ValueError(f"{id!r} waits already")
        if deadline <= now:
            return Step(expired=(id,))
        expired = self._expire(now) if len(self._waiting) >= self._max_queue else ()
        if len(self._waiting) >= self._max_queue:
            return Step(expired=expired, refused=(id,))
        self._arrivals += 1
        rank = (now - priority * self._priority_seconds, self._arrivals)
        self._waiting[id] = _Waiting(id, rank, length, deadline, group)
        step = self._next(now)
        return Step(step.run, expired + step.expired)

    def cancel(self, id: Id) -> bool:
        """Drop a request that waits. False when it does not: it runs, has ended, or was never added."""
        return self._waiting.pop(id, None) is not None

    def engine_free(self, now: float) -> Step[Id]:
        """The engine has finished a batch. Raises RuntimeError when it had none."""
        if self._free == self._slots:
            raise RuntimeError("the engine had no batch to finish")
        self._free += 1
        return self._next(now)

    def _next(self, now: float) -> Step[Id]:
        if not self._free or not self._waiting:
            return Step()
        expired = self._expire(now)
        if not self._waiting:
            return Step(expired=expired)
        batch = self._choose()
        for id in batch:
            del self._waiting[id]
        self._free -= 1
        return Step(run=batch, expired=expired)

    def _expire(self, now: float) -> tuple[Id, ...]:
        late = tuple(item.id for item in self._waiting.values() if item.deadline <= now)
        for id in late:
            del self._waiting[id]
        return late

    def _choose(self) -> tuple[Id, ...]:
        first = min(self._waiting.values(), key=lambda item: item.rank)
        nearest = sorted(
            (item for item in self._waiting.values() if item.group == first.group and item is not first),
            key=lambda item: (abs(item.length - first.length), item.rank),
        )
        batch, total, longest = [first], first.length, first.length
        for item in nearest:
            if len(batch) == self._max_batch:
                break
            total, longest = total + item.length, max(longest, item.length)
            work = (len(batch) + 1) * (self._item_length + longest)
            padding = (len(batch) + 1) * longest - total
            if padding > self._max_padding * work:
                break
            batch.append(item)
        return tuple(item.id for item in batch)
