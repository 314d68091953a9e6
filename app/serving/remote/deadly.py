"""What ends the engine, so that it is not let in again: whoever asks for it once more must not end the next one."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from app.serving.remote.slots import Place, read_item

_MOST = 256
_SECONDS = 3600.0  # that one is refused for; what was wrong then may have been mended by then


class Deadly:
    """Contents that ended an engine, for an hour each. False while there are none, so that nothing has to be hashed."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """None is known. `now`: a clock in seconds."""
        self._now = now
        self._until: dict[bytes, float] = {}  # the oldest first

    def add(self, content: bytes) -> None:
        """Refuse it from now on; of too many, the oldest is let in again."""
        self._until.pop(content, None)
        self._until[content] = self._now() + _SECONDS
        if len(self._until) > _MOST:
            del self._until[next(iter(self._until))]

    def __contains__(self, content: bytes) -> bool:
        return self._until.get(content, 0.0) > self._now()

    def __bool__(self) -> bool:
        while self._until:
            oldest = next(iter(self._until))
            if self._until[oldest] > self._now():
                return True
            del self._until[oldest]
        return False


def fingerprint(bundle: int, lengths: Iterable[int], places: Mapping[str, Place], region: NDArray[np.uint8]) -> bytes:
    """What makes two items in slots the same: the bundle, and every pixel and token. `lengths` as in `read_item`."""
    lengths = tuple(lengths)
    digest = hashlib.sha256(repr((bundle, lengths)).encode())
    for value in read_item(lengths, places, region).values():
        digest.update(value.tobytes())
    return digest.digest()
