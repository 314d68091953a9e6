"""Lets requests in: a valid key, the scope that is asked for, and within the key's limits."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from app.access.file import KeysError, read_ring
from app.access.keys import Key, KeyRing, Scope
from app.access.usage import Usage
from app.errors import Forbidden, Unauthenticated

LOOK_SECONDS = 1.0  # between two looks at the file of keys; a key that was revoked may be good for so long
_Signature = tuple[int, int, int, int, int]
log = logging.getLogger(__name__)


class Admitted:
    """A request that may go on, counted as in flight until its `with` block ends."""

    __slots__ = ("_usage", "key")

    def __init__(self, key: Key, usage: Usage) -> None:
        """Made by `Gate.admit`."""
        self.key = key
        self._usage = usage

    def __enter__(self) -> Admitted:
        """Nothing: the request is counted already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Count it out."""
        self._usage.leave(self.key)


class Gate:
    """Owned by the event loop.

    The file is looked at when a request comes, at most once a second, and read when it is another one than before. A
    file that is gone lets nobody in. One that cannot be read or understood changes nothing, and the log says so: a slip
    while editing must not shut everybody out.
    """

    def __init__(self, file: Path, usage: Usage | None = None, *, now: Callable[[], float] = time.monotonic) -> None:
        """Ask for keys of `file`. Nothing is raised for its state: a service may start before its first key is made."""
        self._file = file
        self._usage = usage or Usage()
        self._now = now
        self._ring = KeyRing()
        self._seen: _Signature | None = None
        self._fault = ""
        self._look_at = now()
        self._look()

    @property
    def keys(self) -> int:
        """How many keys are valid."""
        return len(self._ring)

    def find(self, presented: str | None) -> Key:
        """The record of a presented key. Raises Unauthenticated."""
        if self._now() >= self._look_at:
            self._look()
        if presented is None:
            detail = "Send an API key, as the header 'Authorization: Bearer KEY'."
            raise Unauthenticated(detail if self._ring else f"{detail} This service has no key yet.")
        key = self._ring.find(presented)
        if key is None:
            raise Unauthenticated("The API key is not valid; it may have been revoked.")
        return key

    def admit(self, presented: str | None, scope: Scope) -> Admitted:
        """Let a request in. Raises Unauthenticated, Forbidden, ConcurrencyExceeded or RateExceeded."""
        key = self.find(presented)
        if scope not in key.scopes:
            raise Forbidden(f"This needs a key with the scope {scope}; this key has {', '.join(sorted(key.scopes))}.")
        self._usage.enter(key)
        return Admitted(key, self._usage)

    def _look(self) -> None:
        self._look_at = self._now() + LOOK_SECONDS
        try:
            signature = _signature(os.stat(self._file))
            if signature == self._seen:
                return
            self._seen = signature
            self._ring = read_ring(self._file)
        except FileNotFoundError:
            if len(self._ring):
                log.error("%s is gone: no key is valid any more", self._file)
            self._ring, self._seen = KeyRing(), None
        except (OSError, KeysError) as error:
            if str(error) != self._fault:
                self._fault = str(error)
                log.error("%s; the keys stay as they were", error)
        else:
            self._fault = ""
            log.info("%d keys are valid", len(self._ring))


def _signature(status: os.stat_result) -> _Signature:
    """What changes whenever the file is written or replaced."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
