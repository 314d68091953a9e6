"""One worker, as the engine sees it: its requests run here, whatever becomes of it meanwhile."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import cast

import numpy as np
from numpy.typing import NDArray

from app.errors import InferenceFailed, ServiceError
from app.serving.backend import Backend, Slot
from app.serving.dispatcher import Ran
from app.serving.registry import Served
from app.serving.remote import wire
from app.serving.remote.slots import SlotReader, layout, read_item
from app.serving.remote.wire import Kind, Outbox, ProtocolError, Request, Splitter
from model.preprocess import Item

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Running:
    task: asyncio.Task[None]
    region: weakref.ref[NDArray[np.uint8]]  # of the slot that the request is in


class Peer(asyncio.Protocol):
    """A connected worker. Lives in the event loop of the backend."""

    def __init__(
        self,
        backend: Backend,
        served: Sequence[Served],
        slots: SlotReader,
        join: Callable[[Peer], None],
        leave: Callable[[Peer], None],
    ) -> None:
        """Run on `backend` what the worker puts in `slots`. `join` and `leave` are called at both ends of its stay."""
        self._backend = backend
        self._served = served
        self._tasks = [tuple(one.bundle.config.tasks) for one in served]
        self._places = [layout(one.bundle.config) for one in served]
        self._slots = slots
        self._join = join
        self._leave = leave
        self._loop = asyncio.get_running_loop()
        self._splitter = Splitter()
        self._running: dict[int, _Running] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Tell the worker what runs here."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._outbox = Outbox(self._transport)
        self._join(self)
        bundles = [{"runtime": one.runtime, "device": one.device, "precision": one.precision} for one in self._served]
        self._outbox.send(wire.pack_document(Kind.WELCOME, {"version": wire.VERSION, "bundles": bundles}))

    def data_received(self, data: bytes) -> None:
        """Messages, or parts of them."""
        try:
            for kind, payload in self._splitter.feed(data):
                if kind == Kind.REQUEST:
                    self._start(wire.unpack_request(payload))
                elif kind == Kind.CANCEL:
                    self._cancel(wire.unpack_id(payload))
                else:
                    raise ProtocolError(f"a worker sends no {kind.name}")
        except (ProtocolError, ValueError, IndexError) as error:
            log.error("a worker sent what cannot be right, and is hung up on: %s", error)
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """Nobody is left to answer; the memory goes once no batch reads it."""
        self._leave(self)
        for running in self._running.values():
            running.task.cancel()

    def close(self) -> None:
        """Hang up, once what was sent has left."""
        self._transport.close()

    def _start(self, request: Request) -> None:
        if request.id in self._running:
            raise ProtocolError("two requests of one number")
        served, all_tasks = self._served[request.bundle], self._tasks[request.bundle]
        region = self._slots.region(request.slot)
        item = read_item(request.lengths, self._places[request.bundle], region)
        tasks = tuple(all_tasks[index] for index in request.tasks) or all_tasks
        task = self._loop.create_task(self._run(request, served, item, tasks))
        self._running[request.id] = _Running(task, weakref.ref(region))

    async def _run(self, request: Request, served: Served, item: Item, tasks: tuple[str, ...]) -> None:
        try:
            # The item is where the engine reads it already.
            slot = Slot(alone=request.alone, mark=partial(self._slots.mark, request.slot))
            ran = await self._backend.run(
                served, slot, item, tasks, request.deadline, request.priority, request.explained
            )
            message = self._answer(request.id, ran, tasks)
        except ServiceError as error:
            message = wire.pack_error(request.id, error)
        except Exception:
            log.exception("a request failed for a reason of the engine's own")
            message = wire.pack_error(request.id, InferenceFailed("The engine failed on this request."))
        del self._running[request.id]
        self._outbox.send(message)

    def _answer(self, id: int, ran: Ran, tasks: tuple[str, ...]) -> bytes:
        values = wire.outputs(tasks, ran.row)
        return wire.pack_answer(wire.Answer(id, ran.queued, ran.ran, ran.batch_size, self._backend.waiting, values))

    def _cancel(self, id: int) -> None:
        running = self._running.pop(id, None)
        if running is None:
            return  # its answer is on the way
        running.task.cancel()
        # A batch that runs already still reads the slot, so the worker hears of the end when the last reader is gone.
        region = running.region()
        if region is None:
            self._cancelled(id)
        else:
            weakref.finalize(region, self._tell_cancelled, id).atexit = False

    def _tell_cancelled(self, id: int) -> None:
        # From the thread that let go of the slot last; a loop that is closed has no worker to tell.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._cancelled, id)

    def _cancelled(self, id: int) -> None:
        self._outbox.send(wire.pack_id(Kind.CANCELLED, id))
