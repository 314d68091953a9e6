"""The process that owns the listening socket and keeps the others alive; it serves nothing itself.

The others are one engine and workers, or one process that does everything.
"""

from __future__ import annotations

import asyncio
import logging
import math
import signal
import socket
from collections import defaultdict
from contextlib import suppress

from prometheus_client import CollectorRegistry, ProcessCollector

from app.access.usage import share
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
    """The processes of a service, from start to end."""

    def __init__(self, settings: Settings, plan: ThreadPlan, listener: socket.socket) -> None:
        """Serve on `listener` with `plan.workers` workers and an engine, with one process where that is 1.

        Raises OSError.
        """
        self._settings = settings
        self._plan = plan
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._ended: Snapshot = []
        self._collecting: set[asyncio.Task[None]] = set()
        self._stopping: asyncio.Task[None] | None = None
        self._said: defaultdict[tuple[str, str], asyncio.Event] = defaultdict(asyncio.Event)  # by worker and kind
        self._closed = False  # the port
        self._complete = False  # every process has been up
        # A socket for each worker, all of them held here: what waits for a worker that ends is not lost with it.
        self._listeners = [listener, *siblings(listener, plan.workers - 1)]
        self.engine: Child | None = None
        if plan.workers == 1:
            self.workers = [self._service(listener)]
            return
        # A name that the kernel chooses, outside of the file system: nothing to clean up, however this ends.
        self._engine_listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._engine_listener.bind("")
        self._engine_listener.listen()
        self.engine = self._child(
            "engine", {"role": "engine", "listener": self._engine_listener.fileno()}, [self._engine_listener.fileno()]
        )
        self._usage = share(plan.workers)  # of API keys, whose limits hold for all workers together
        self.workers = [self._worker(number) for number in range(plan.workers)]

    def _service(self, listener: socket.socket) -> Child:
        """The one process that does everything."""
        return self._child("service", {"role": "service", "listener": listener.fileno()}, [listener.fileno()])

    def _worker(self, number: int) -> Child:
        name = f"worker {number + 1}"
        fds = [listener.fileno() for listener in self._listeners]
        address = self._engine_listener.getsockname()[1:].decode("ascii")
        usage = {"fd": self._usage, "workers": self._plan.workers, "worker": number}
        first = {"role": "worker", "name": name, "listeners": fds, "address": address, "usage": usage}
        return self._child(name, first, [*fds, self._usage], _share(self._settings, self._plan.workers), threads=1)

    def _child(
        self, name: str, first: Message, fds: list[int], settings: Settings | None = None, threads: int | None = None
    ) -> Child:
        """`first`: what it is to be. `settings`: all of them by default. `threads` of numeric libraries."""
        told = (settings or self._settings).model_dump(mode="json")

        def start() -> Message:
            # A worker that comes later leaves connections to those that are there until it can answer.
            patient = self._settings.reuse_port or any(worker.up for worker in self.workers)
            return {"kind": "start", "settings": told, "patient": patient, **first}

        environment = self._plan.environment(threads or self._plan.forward)
        return Child(name, start, fds, environment, self._hear, self._settings.hang_timeout)

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
        return [self.engine, *self.workers] if self.engine else self.workers

    async def _drain(self, timeout: float) -> None:
        """Workers first: the engine is needed until the last of them has its answers.

        All of them go on telling new requests to go elsewhere until the last has its answers. Then all leave the port,
        which is free once it is closed here, too.
        """
        leaving = asyncio.create_task(self._leave_port())
        for worker in self.workers:
            worker.stop(timeout)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout + _CLOSING_SECONDS):
                await self._have_said("drained")
        for worker in self.workers:
            worker.send("leave")
        await self._end(self.workers, 0.0)
        await leaving
        if self.engine:
            await self._end([self.engine], 0.0)

    async def _leave_port(self) -> None:
        """Close the port once no worker takes connections from it any more."""
        await self._have_said("left")
        self._closed = True
        for listener in self._listeners:
            listener.close()

    async def _have_said(self, kind: str) -> None:
        """Return when every worker has said this, or has ended."""

        async def has(worker: Child) -> None:
            ways = [asyncio.ensure_future(way) for way in (self._said[worker.name, kind].wait(), worker.ended())]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()

        await asyncio.gather(*map(has, self.workers))

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
        if self.engine is None or self._closed:
            return  # the one process there is listens by itself
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
            if not self._complete and all(child.up for child in self._children):
                self._complete = True
                log.info("every process is up")
        elif message["kind"] in ("drained", "left"):
            self._said[child.name, message["kind"]].set()
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
            "max_connections": math.ceil(settings.max_connections / workers),
            "cache_size": settings.cache_size // workers,
        }
    )
