"""One process that the supervisor keeps alive: started, listened to, started again when it ends unasked."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from app.processes.channel import Channel, Message
from app.telemetry.merging import Snapshot

log = logging.getLogger(__name__)

_MOST_STARTS = 4  # in a row that end before the process is up
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 8.0  # seconds before another start, doubled each time
_STEADY = 30.0  # seconds after which a process that is up has shown that it can stay


class ServiceFailed(Exception):
    """The service cannot be served; the message says why."""


class Child:
    """A process of a role, and those that take its place."""

    def __init__(
        self,
        name: str,
        start: Callable[[], Message],
        fds: Sequence[int],
        environment: Mapping[str, str],
        on_message: Callable[[Child, Message], None],
    ) -> None:
        """`start` makes its first message. `fds`: open files that it inherits. `on_message` hears what it says."""
        self.name = name
        self.up = False
        self.last_snapshot: Snapshot = []
        self._start = start
        self._fds = fds
        self._environment = environment
        self._on_message = on_message
        self._process: asyncio.subprocess.Process | None = None
        self._channel: Channel | None = None
        self._stop_asked = asyncio.Event()
        self._ids = itertools.count()
        self._asked: dict[int, asyncio.Future[Snapshot]] = {}
        self._over = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """Of the process that there is now."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def keep(self, on_end: Callable[[Child], None]) -> None:
        """Run until the process ends after `stop`. `on_end` is called each time that it has ended.

        Raises ServiceFailed with the reason that the process gave, or when it ends again and again at its start.
        """
        try:
            await self._keep(on_end)
        finally:
            self._over.set()

    async def ended(self) -> None:
        """Return when no process is left and none will come."""
        await self._over.wait()

    async def _keep(self, on_end: Callable[[Child], None]) -> None:
        starts = 0
        while not self._stop_asked.is_set():
            reason, seconds_up, code = await self._run()
            on_end(self)
            if reason is not None:
                raise ServiceFailed(reason)
            if self._stop_asked.is_set():
                return
            starts = 1 if seconds_up is not None and seconds_up > _STEADY else starts + 1
            if seconds_up is None and starts >= _MOST_STARTS:
                raise ServiceFailed(
                    f"the {self.name} ended {starts} times in a row at its start, last {_describe(code)}; "
                    "its log says more"
                )
            pause = 0.0 if starts == 1 else min(_FIRST_PAUSE * 2 ** (starts - 2), _LONGEST_PAUSE)
            log.error("the %s ended, %s; it is started again in %.1f s", self.name, _describe(code), pause)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stop_asked.wait()

    def stop(self, timeout: float) -> None:
        """Ask the process to end, its work to be done within `timeout` seconds, and start no other."""
        self._stop_asked.set()
        self.send("stop", timeout=timeout)

    def kill(self) -> None:
        """End the process at once, and start no other."""
        self._stop_asked.set()
        if self.pid is not None:
            os.kill(self.pid, signal.SIGKILL)

    def send(self, kind: str, **fields: Any) -> None:
        """Say something to the process, if it is there."""
        if self._channel is not None:
            self._channel.send(kind, **fields)

    async def snapshot(self, timeout: float) -> Snapshot:
        """Its metrics; those of the last time where it does not answer within `timeout` seconds."""
        if self._channel is None or not self.up:
            return self.last_snapshot
        id = next(self._ids)
        asked = self._asked[id] = asyncio.get_running_loop().create_future()
        self._channel.send("snapshot", id=id)
        try:
            async with asyncio.timeout(timeout):
                self.last_snapshot = await asked
        except TimeoutError:
            log.warning("the %s does not tell its metrics", self.name)
        finally:
            del self._asked[id]
        return self.last_snapshot

    async def _run(self) -> tuple[str | None, float | None, int]:
        """One process from start to end: the reason that it gave, for how long it was up, and how it ended."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = process = await asyncio.create_subprocess_exec(
                # Without -P, a package "app" in the current folder would be taken for this one.
                sys.executable, "-P", "-m", "app.processes.entry", str(theirs.fileno()), self.name,
                pass_fds=(theirs.fileno(), *self._fds),
                env={**self._environment, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
                start_new_session=True,  # Ctrl+C is the supervisor's to hear
            )  # fmt: skip
        self._channel = channel = await Channel.open(ours)
        reason, up_since = None, None
        loop = asyncio.get_running_loop()
        try:
            channel.send(**self._start())
            if self._stop_asked.is_set():
                channel.send("stop", timeout=0.0)
            while (message := await channel.receive()) is not None:
                match message["kind"]:
                    case "up":
                        self.up, up_since = True, loop.time()
                        self._on_message(self, message)
                    case "failed":
                        reason = message["reason"]
                    case "snapshot":
                        if (asked := self._asked.get(message["id"])) is not None and not asked.done():
                            asked.set_result(message["families"])
                    case _:
                        self._on_message(self, message)
            code = await process.wait()
        finally:
            self.up = False
            self._channel = None
            channel.close()
            if process.returncode is None:
                process.kill()
        return reason, None if up_since is None else loop.time() - up_since, code


def _describe(code: int) -> str:
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
