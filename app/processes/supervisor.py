"""The process that owns the listening socket and keeps the others alive; it serves nothing itself."""

from __future__ import annotations

import asyncio
import logging
import math
import signal
import socket
from contextlib import suppress
from functools import partial

from prometheus_client import CollectorRegistry, ProcessCollector

from app.listening import siblings
from app.processes.channel import Message
from app.processes.child import Child, ServiceFailed
from app.settings import Settings
from app.telemetry import merging
from app.telemetry.merging import Snapshot
from app.threads import ThreadPlan

log = logging.getLogger(__name__)

_CLOSING_SECONDS = 10.0  # that a process gets to end after its work is done
_SNAPSHOT_SECONDS = 1.0  # that a process gets to tell its metrics


class Supervisor:
    """An engine and workers, from start to end."""

    def __init__(self, settings: Settings, plan: ThreadPlan, listener: socket.socket) -> None:
        """Serve on `listener` with `plan.workers` workers. Raises OSError."""
        self._settings = settings
        # A name that the kernel chooses, outside of the file system: nothing to clean up, however this ends.
        self._engine_listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._engine_listener.bind("")
        self._engine_listener.listen()
        address = self._engine_listener.getsockname()[1:].decode("ascii")
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._ended: Snapshot = []
        self._collecting: set[asyncio.Task[None]] = set()
        self._stopping: asyncio.Task[None] | None = None
        # A socket for each worker, all of them held here: what waits for a worker that ends is not lost with it.
        self._listeners = [listener, *siblings(listener, plan.workers - 1)]
        whole, share = ({"settings": one.model_dump(mode="json")} for one in (settings, _share(settings, plan.workers)))
        self.engine = Child(
            "engine",
            lambda: {**whole, "kind": "start", "role": "engine", "listener": self._engine_listener.fileno()},
            [self._engine_listener.fileno()],
            plan.environment(plan.forward),
            self._hear,
        )
        fds = [listener.fileno() for listener in self._listeners]

        def first(name: str) -> Message:
            start = {"kind": "start", "role": "worker", "name": name, "listeners": fds, "address": address}
            # One that comes later leaves connections to those that are there until it can answer.
            return {**share, **start, "patient": any(worker.up for worker in self.workers)}

        self.workers = [
            Child(name, partial(first, name), fds, plan.environment(1), self._hear)
            for name in (f"worker {number}" for number in range(1, plan.workers + 1))
        ]

    async def run(self) -> str | None:
        """Serve until a signal; None after an orderly end, else why the service could not be served."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop)
        keeping = {asyncio.create_task(child.keep(self._forget), name=child.name): child for child in self._children}
        failure = None
        pending = set(keeping)
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                try:
                    task.result()
                except (ServiceFailed, OSError) as error:
                    failure = failure or str(error)
                    self._stopping = self._stopping or asyncio.create_task(self._drain(0.0))
        if self._stopping is not None:
            with suppress(asyncio.CancelledError):
                await self._stopping
        return failure

    def stop(self) -> None:
        """Drain at the first call, end at once at the second."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._drain(self._settings.drain_timeout))
            return
        self._stopping.cancel()
        for child in self._children:
            child.kill()

    @property
    def _children(self) -> list[Child]:
        return [self.engine, *self.workers]

    async def _drain(self, timeout: float) -> None:
        """Workers first: the engine is needed until the last of them has its answers."""
        await self._end(self.workers, timeout)
        await self._end([self.engine], 0.0)

    async def _end(self, children: list[Child], timeout: float) -> None:
        for child in children:
            child.stop(timeout)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout + _CLOSING_SECONDS):
                await asyncio.gather(*(child.ended() for child in children))
                return
        for child in children:
            if child.pid is not None:
                log.error("the %s does not end, and is killed", child.name)
                child.kill()

    def _forget(self, child: Child) -> None:
        """A process has ended; what it had counted, as far as it told, stays counted."""
        self._ended = merging.merge([self._ended, merging.of_ended(child.last_snapshot)])
        child.last_snapshot = []
        self._cover()

    def _cover(self) -> None:
        """Each worker that is up takes connections from its own socket, and from one of a worker that is not."""
        up = [worker for worker in self.workers if worker.up]
        takes: dict[str, list[int]] = {worker.name: [] for worker in up}
        for number, (worker, listener) in enumerate(zip(self.workers, self._listeners, strict=True)):
            if up:
                takes[(worker if worker.up else up[number % len(up)]).name].append(listener.fileno())
        for worker in up:
            worker.send("listen", listeners=takes[worker.name])

    def _hear(self, child: Child, message: Message) -> None:
        if message["kind"] == "up":
            self._cover()
        elif message["kind"] == "collect":
            child.last_snapshot = message["families"]
            task = asyncio.create_task(self._collect(child, message["id"]))
            self._collecting.add(task)
            task.add_done_callback(self._collecting.discard)

    async def _collect(self, asker: Child, id: int) -> None:
        """Tell a worker, which told its own metrics, those of the whole service."""
        others = [child for child in self._children if child is not asker]
        told = await asyncio.gather(*(child.snapshot(_SNAPSHOT_SECONDS) for child in others))
        told = [
            families if child is self.engine else merging.of_worker(families)
            for child, families in zip(others, told, strict=True)
        ]
        own = merging.snapshot(self._registry, "supervisor")
        parts = [merging.of_worker(asker.last_snapshot), *map(merging.of_others, told), own, self._ended]
        asker.send("collected", id=id, text=merging.render(merging.merge(parts)).decode())


def supervise(settings: Settings, plan: ThreadPlan, listener: socket.socket) -> str | None:
    """Serve on `listener` until a signal; None after an orderly end, else why the service could not be served."""
    return asyncio.run(_supervise(settings, plan, listener))


async def _supervise(settings: Settings, plan: ThreadPlan, listener: socket.socket) -> str | None:
    return await Supervisor(settings, plan, listener).run()


def _share(settings: Settings, workers: int) -> Settings:
    """What each of so many workers may hold, so that together they hold what the settings say."""
    return settings.model_copy(
        update={
            "max_in_flight": math.ceil(settings.max_in_flight / workers),
            "max_bytes_in_flight": math.ceil(settings.max_bytes_in_flight / workers),
            "cache_size": settings.cache_size // workers,
        }
    )
