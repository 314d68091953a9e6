"""Threads that work in step hand values to each other."""

from __future__ import annotations

import threading
from typing import Any


class Exchange:
    """Where a fixed number of threads meet; each brings a value and leaves with everybody's."""

    def __init__(self, parties: int) -> None:
        self.parties = parties
        self._barrier = threading.Barrier(parties)
        # Two tables in turn: nobody comes to write the first again before all have read it and met at the second.
        self._tables: list[list[Any]] = [[None] * parties for _ in range(2)]

    def meet(self, rank: int, turn: int, value: Any) -> list[Any]:
        """Wait for the others; returns the values in the order of the ranks. Raises BrokenBarrierError after abort."""
        table = self._tables[turn % 2]
        table[rank] = value
        self._barrier.wait()
        return list(table)

    def abort(self) -> None:
        """Let nobody wait for one that will not come."""
        self._barrier.abort()

    def reset(self) -> None:
        """Make it usable again, when no thread is in it."""
        self._barrier.reset()


class Party:
    """One thread's place in an exchange, for the length of a step."""

    def __init__(self, exchange: Exchange, rank: int) -> None:
        self.rank = rank
        self._exchange = exchange
        self._turn = 0

    def meet(self, value: Any) -> list[Any]:
        """See Exchange.meet."""
        self._turn += 1
        return self._exchange.meet(self.rank, self._turn, value)
