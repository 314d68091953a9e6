"""Which waiting requests run together, and when.

A policy and nothing else: no clock, no thread, no socket, nothing of the project. Its owner tells it the time, what
arrived, what was cancelled and when the engine is free; it answers with the batch to run and with those that came
too late. So it can be property-tested, and simulated at any scale.

The rules, in the order in which they bind:

1. Work-conserving: whenever the engine is idle and something waits, a batch runs at once. Nothing waits for
   batchmates that may not come; batches grow because requests arrive while the engine is busy. An engine that takes a
   batch ahead, while one runs, gets one at least as large as the one before it: a smaller one would gain little by
   being staged early, and keep out those who arrive before it can run.
2. Nothing starves: the request of the smallest rank is in the next batch, always. The rank is its arrival time, less
   `priority_seconds` a step of priority, so that a request of low priority still overtakes later ones.
3. A batch is of one group, and of similar lengths: its other places go to those nearest in length to the first, until
   it is full or its padding would exceed `max_padding`. Among equals: first come, first served. Only the first in line,
   enough for two full batches, are looked at, so that an unusual length is not overtaken by a whole queue.
4. A batch has one of the given sizes, the largest that can be filled: no row is padding.
5. What is to run alone runs in a batch of one, with no other batch in the engine.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Generic, TypeVar

Id = TypeVar("Id", bound=Hashable)


@dataclass(frozen=True)
class Step(Generic[Id]):
    """What the owner has to do now. Each id that was added appears in one step at most, in one of the three."""

    runs: tuple[tuple[Id, ...], ...] = ()  # batches; the engine counts as busy with each until `engine_free`
    expired: tuple[Id, ...] = ()  # their deadline passed while they waited
    refused: tuple[Id, ...] = ()  # the queue was full


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[Id]):
    id: Id
    rank: tuple[float, int]  # smaller runs earlier; the running number settles ties by order of arrival
    length: int
    deadline: float
    group: Hashable
    alone: bool


_CANDIDATES = 2  # full batches that are chosen from
_rank = attrgetter("rank")


class Batcher(Generic[Id]):
    """A bounded queue that makes batches. Not thread-safe: it has one owner.

    Times are seconds of one clock of the owner's choice. Lengths are tokens; `item_length` is what everything else of
    an item costs, in tokens, and `batch_length` what a batch costs whatever is in it, so that padding is judged by the
    work that it adds and by the batch that it saves. Their defaults were measured on the shipped bundle on a CPU, the
    rest chosen by simulation: docs/decisions/0006-batching.md.

    Each group waits in a line, in order of rank: a batch is chosen from the head of a line, not from all that wait.
    """

    def __init__(
        self,
        *,
        sizes: Sequence[int],
        max_queue: int,
        slots: int = 1,
        max_padding: float = 0.05,
        item_length: float = 150,
        batch_length: float = 300,
        priority_seconds: float = 1.0,
    ) -> None:
        """Start empty.

        `sizes`: of batches, ascending. `slots`: batches that the engine has at a time, the one that runs included.
        `max_padding`: share of a batch's work, 0 to 1, that padding may be beyond `batch_length`.
        """
        if min(max_queue, slots) < 1:
            raise ValueError("max_queue and slots must be 1 or more")
        if not sizes or sizes[0] < 1 or list(sizes) != sorted(set(sizes)):
            raise ValueError("sizes must be whole numbers from 1, ascending")
        self._sizes = self._all_sizes = tuple(sizes)
        self._max_queue = max_queue
        self._free = self._slots = slots
        self._latest = 0  # size of the latest batch
        self._exclusive = False  # whether the batch that runs is to be the only one
        self._max_padding = max_padding
        self._costs = (item_length, batch_length)
        self._costs_of: dict[Hashable, tuple[float, float]] = {}
        self._priority_seconds = priority_seconds
        self._waiting: dict[Id, _Waiting[Id]] = {}
        self._lines: dict[Hashable, list[_Waiting[Id]]] = {}  # by rank
        self._earliest = float("inf")  # no deadline of those that wait is before this
        self._arrivals = 0

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """How many batches the engine has."""
        return self._slots - self._free

    @property
    def largest(self) -> int:
        """Requests in the largest batch that is made."""
        return self._sizes[-1]

    def weigh(self, group: Hashable, item_length: float, batch_length: float) -> None:
        """Let everything else of an item of this group, and a batch of it by itself, cost so many tokens."""
        self._costs_of[group] = (item_length, batch_length)

    def limit(self, largest: int) -> None:
        """Make no batch above `largest`, 1 or more, from the next step on; the largest of the sizes lifts the limit."""
        self._sizes = tuple(size for size in self._all_sizes if size <= largest) or (largest,)
        self._latest = min(self._latest, self._sizes[-1])

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
        alone: bool = False,
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
        if alone:
            group = (group, rank)
        item = self._waiting[id] = _Waiting(id, rank, length, deadline, group, alone)
        insort(self._lines.setdefault(group, []), item, key=_rank)
        self._earliest = min(self._earliest, deadline)
        step = self._next(now)
        return Step(step.runs, expired + step.expired)

    def cancel(self, id: Id) -> bool:
        """Drop a request that waits. False when it does not: it runs, has ended, or was never added."""
        if id not in self._waiting:
            return False
        self._drop(self._waiting[id])
        return True

    def engine_free(self, now: float) -> Step[Id]:
        """The engine has finished a batch. Raises RuntimeError when it had none."""
        if self._free == self._slots:
            raise RuntimeError("the engine had no batch to finish")
        self._free += 1
        self._exclusive = False
        return self._next(now)

    def _next(self, now: float) -> Step[Id]:
        if not self._free or not self._waiting:
            return Step()
        expired = self._expire(now)
        runs = []
        while self._free and self._waiting and not self._exclusive:
            batch = self._choose()
            if self.running and (len(batch) < self._latest or batch[0].alone):
                break
            self._exclusive = batch[0].alone
            self._latest = len(batch)
            for item in batch:
                self._drop(item)
            self._free -= 1
            runs.append(tuple(item.id for item in batch))
        return Step(tuple(runs), expired)

    def _expire(self, now: float) -> tuple[Id, ...]:
        if now < self._earliest:
            return ()
        late = [item for item in self._waiting.values() if item.deadline <= now]
        for item in late:
            self._drop(item)
        self._earliest = min((item.deadline for item in self._waiting.values()), default=float("inf"))
        return tuple(item.id for item in late)

    def _drop(self, item: _Waiting[Id]) -> None:
        del self._waiting[item.id]
        line = self._lines[item.group]
        del line[bisect_left(line, item.rank, key=_rank)]
        if not line:
            del self._lines[item.group]

    def _choose(self) -> list[_Waiting[Id]]:
        line = min(self._lines.values(), key=lambda line: line[0].rank)
        first = line[0]
        candidates = line[: _CANDIDATES * self._sizes[-1]]
        # Stable, so that those of one distance stay in order of rank.
        candidates.sort(key=lambda item: abs(item.length - first.length))
        batch: list[_Waiting[Id]] = []
        item_length, batch_length = self._costs_of.get(first.group, self._costs)
        total, longest = 0, first.length
        for item in candidates[: self._sizes[-1]]:
            size = len(batch) + 1
            total, longest = total + item.length, max(longest, item.length)
            if size * longest - total > self._max_padding * size * (item_length + longest) + batch_length:
                break
            batch.append(item)
        fitting = bisect_right(self._sizes, len(batch))
        # Fewer than the smallest size run as they are: nothing waits for batchmates.
        return batch[: self._sizes[fitting - 1]] if fitting else batch
