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
_LONGEST_START = 600.0  # seconds; building a large network for a device may take minutes
_LATE = 1.0  # seconds that this process's own clock may be late: more, and it had been stopped itself


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
        hang_timeout: float = 0.0,
    ) -> None:
        """`start` makes its first message. `fds`: open files that it inherits. `on_message` hears what it says.

        `hang_timeout`: seconds after which a process that is up and does not react is killed; 0: never.
        """
        self.name = name
        self.up = False
        self.last_snapshot: Snapshot = []
        self._start = start
        self._fds = fds
        self._environment = environment
        self._on_message = on_message
        self._hang_timeout = hang_timeout
        self._reacted = asyncio.Event()
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
        ends_in_a_row, never_up = 0, 0
        while not self._stop_asked.is_set():
            reason, seconds_up, code = await self._run()
            on_end(self)
            if reason is not None:
                raise ServiceFailed(reason)
            if self._stop_asked.is_set():
                return
            ends_in_a_row = 1 if seconds_up is not None and seconds_up > _STEADY else ends_in_a_row + 1
            never_up = never_up + 1 if seconds_up is None else 0
            if never_up == _MOST_STARTS:
                raise ServiceFailed(
                    f"the {self.name} ended {never_up} times in a row at its start, last {_describe(code)}; "
                    "its log says more"
                )
            pause = 0.0 if ends_in_a_row == 1 else min(_FIRST_PAUSE * 2 ** (ends_in_a_row - 2), _LONGEST_PAUSE)
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
        watching = asyncio.create_task(self._watch(process))
        try:
            channel.send(**self._start())
            if self._stop_asked.is_set():
                channel.send("stop", timeout=0.0)
            while (message := await channel.receive()) is not None:
                match message["kind"]:
                    case "up":
                        self.up, up_since = True, loop.time()
                        self._reacted.set()
                        self._on_message(self, message)
                    case "pong":
                        self._reacted.set()
                    case "failed":
                        reason = message["reason"]
                    case "snapshot":
                        if (asked := self._asked.get(message["id"])) is not None and not asked.done():
                            asked.set_result(message["families"])
                    case _:
                        self._on_message(self, message)
            code = await process.wait()
        finally:
            watching.cancel()
            self.up = False
            self._channel = None
            channel.close()
            if process.returncode is None:
                process.kill()
        return reason, None if up_since is None else loop.time() - up_since, code

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """Kill a process that does not come up, or does not react any more."""
        if not self._hang_timeout:
            return
        if await self._silent(_LONGEST_START):
            self._end_hung(process, f"is not up after {_LONGEST_START:g} s")
            return
        while not self._stop_asked.is_set():
            began = asyncio.get_running_loop().time()
            self.send("ping")
            if await self._silent(self._hang_timeout):
                self._end_hung(process, f"has not reacted for {self._hang_timeout:g} s")
                return
            # Asked so often that a hang is noticed at most a quarter later than the setting says.
            pause = self._hang_timeout / 4 - (asyncio.get_running_loop().time() - began)
            await asyncio.sleep(max(0.0, pause))

    def _end_hung(self, process: asyncio.subprocess.Process, why: str) -> None:
        # One that was asked to stop has somebody else who sees to it.
        if not self._stop_asked.is_set() and process.returncode is None:
            log.error("the %s %s, and is killed", self.name, why)
            with suppress(ProcessLookupError):
                process.kill()

    async def _silent(self, seconds: float) -> bool:
        """Whether the process gives no sign of life for so long while this one could have heard it."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + seconds
            self._reacted.clear()
            try:
                async with asyncio.timeout_at(due):
                    await self._reacted.wait()
                return False
            except TimeoutError:
                if loop.time() - due < _LATE:
                    return True
                # Stopped and let go on, with everything that hangs on it: what came meanwhile is not read yet.


def _describe(code: int) -> str:
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
