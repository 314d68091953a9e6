"""How large a batch the device has memory for, learned from those that it had none for.

No clock of its own: it is told the time, as the batcher is.
"""

from __future__ import annotations

from collections.abc import Sequence

_FIRST_PAUSE, _LONGEST_PAUSE = 30.0, 3600.0  # seconds before a larger size is tried again, doubled each time


class Ceiling:
    """The largest batch to make: lowered at once where memory was short, raised step by step when it was not again.

    Memory that was short for another program's sake may be there later, so a larger size is tried after a pause. A size
    that fails again costs one split batch and doubles the pause, so what never fits is hardly ever tried.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        """`sizes` of batches, ascending: the last is where it starts."""
        self._sizes = tuple(sizes)
        self._pause = _FIRST_PAUSE
        self._until = 0.0  # no larger size is tried before
        self._raised = False  # to a size that has not shown yet that it fits
        self.size = self._sizes[-1]

    def fell_short(self, size: int, now: float) -> None:
        """There was no memory for a batch of `size`: at most half of it from now on."""
        if self._raised:
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        self._raised = False
        self._until = now + self._pause
        half = max(1, size // 2)
        self.size = min(self.size, max((size for size in self._sizes if size <= half), default=half))

    def fitted(self, now: float) -> None:
        """A batch ran: where the pause has passed, the next size may be tried."""
        if now < self._until:
            return
        self._raised = self.size < self._sizes[-1]
        if self._raised:
            self.size = min(size for size in self._sizes if size > self.size)
            self._until = now + self._pause
        else:
            self._pause = _FIRST_PAUSE
