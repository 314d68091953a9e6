"""A worker's end: the backend whose engine is another process, which may end and be started again at any time."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.errors import EngineUnavailable, InferenceFailed, QueueFull, ServiceError
from app.serving.backend import Slot
from app.serving.dispatcher import Ran
from app.serving.erasing import at_once
from app.serving.registry import Served
from app.serving.remote import wire
from app.serving.remote.connection import Connection
from app.serving.remote.deadly import Deadly, fingerprint
from app.serving.remote.slots import Lease, Place, Slots, layout, slot_bytes, write_item
from app.serving.remote.wire import Answer, Kind, ProtocolError, Request
from app.serving.splitting import Row
from app.serving.types import ServingConfig
from model.bundle import Bundle, load_bundle
from model.calibration import answer_size
from model.preprocess import Item
from model.shapley import between

log = logging.getLogger(__name__)

_SMOOTHING = 0.1  # share of the newest answer in the running mean of the service time
_LONGEST_RETRY = 60.0  # seconds
_RESTART_RETRY = 2.0  # seconds; a restart takes about as long
_MOST_TRIES = 5  # engines that a request may be given to, where none of them ended while it ran the request


@dataclass(frozen=True)
class SharedSlot(Slot):
    """Memory that the engine reads, with the lease of it."""

    lease: Lease | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """See Slot."""
        assert self.lease is not None
        if not self.lease.hold():
            raise RuntimeError("the request was given up, and its slot may be another's already")
        try:
            yield
        finally:
            self.lease.release()


@dataclass(frozen=True)
class _Known:
    """What of a bundle is needed to speak of it."""

    index: int
    bundle: Bundle
    places: dict[str, Place]
    widths: dict[str, int]  # task -> figures in its outputs


@dataclass
class _Call:
    known: _Known
    lease: Lease  # held for the engine, which reads the slot until it has answered
    tasks: tuple[str, ...]
    request: Request
    future: asyncio.Future[Ran]
    tries: int = 0


class RemoteBackend:
    """Runs items on the engine behind a socket. Made and used in one event loop.

    While there is no engine, requests that were accepted wait for the next one; `alive` says that no more should be.
    Those that an engine ran when it ended are run by the next one alone, so that the one which ends it again is known:
    that one is refused, and what has the same content is refused from then on.
    """

    def __init__(self, config: ServingConfig, address: str) -> None:
        """`address`: of the engine's listener, a Unix socket. Nothing is read and nobody called before `load`."""
        self._config = config
        self._connection = Connection(address, self._greeting, self._welcome, self._receive, self._lost)
        self._ids = itertools.count()
        self._calls: dict[int, _Call] = {}
        self._known: dict[str, _Known] = {}
        self._served: dict[Path, Served] = {}
        self._slots: Slots | None = None
        self._first_welcome: asyncio.Future[Sequence[dict[str, str]]] = asyncio.get_running_loop().create_future()
        self._opening: asyncio.Task[None] | None = None
        self._closed: Callable[[], ServiceError] | None = None
        self._waiting = 0
        self._seconds_per_item = 0.0
        self._deadly = Deadly()

    @property
    def alive(self) -> bool:
        """Whether an engine has welcomed this worker, and has not hung up since."""
        return self._connection.welcomed

    @property
    def waiting(self) -> int:
        """Requests of all workers that waited for the engine when it last answered."""
        return self._waiting

    @property
    def slots_taken(self) -> int:
        """Slots that a request, a decoding thread or the engine still uses."""
        return self._slots.taken if self._slots else 0

    async def lost(self) -> str:
        """Never: another engine may always come."""
        never: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        return await never

    async def load(self, path: Path) -> Served:
        """Read what a worker needs of a bundle, and wait for an engine that runs it.

        Raises BundleError, and EngineUnavailable once `close` was called.
        """
        if self._opening is None:
            self._opening = asyncio.create_task(self._open())
        await asyncio.shield(self._opening)
        return self._served[path]

    async def _open(self) -> None:
        paths = self._config.bundles
        bundles = [await asyncio.to_thread(_read, path) for path in paths]
        for index, bundle in enumerate(bundles):
            if bundle.name not in self._known:
                widths = {name: answer_size(task) for name, task in bundle.config.tasks.items()}
                self._known[bundle.name] = _Known(index, bundle, layout(bundle.config), widths)
        # A request that was given up leaves its place in flight before the engine leaves its slot: room for those.
        count = self._config.max_in_flight + 2 * max(self._config.batch_sizes)
        # And for the items of full explanations.
        count += self._config.max_explanations * at_once(self._config.batch_sizes)
        self._slots = Slots(count, slot_bytes(bundle.config for bundle in bundles))
        await self._connection.open()
        runs = await self._first_welcome
        for path, bundle, how in zip(paths, bundles, runs, strict=True):
            self._served[path] = Served(bundle, how["runtime"], how["device"], how["precision"])

    @contextmanager
    def slot(self, served: Served) -> Iterator[Slot]:
        """Memory that the engine reads. Raises QueueFull when all of it is in use."""
        assert self._slots is not None
        lease = self._slots.take()
        if lease is None:
            raise QueueFull("Too many requests are in flight; try again later.", retry_after=self.seconds_for(1))
        try:
            region = lease.region()
            places = self._known[served.bundle.name].places
            buffers = {name: place.view(region) for name, place in places.items() if len(place.shape) > 1}
            yield SharedSlot(buffers, lease=lease)  # type: ignore[arg-type]  # image modalities are uint8
        finally:
            lease.release()

    async def run(
        self,
        served: Served,
        slot: Slot,
        item: Item,
        tasks: tuple[str, ...],
        deadline: float,
        priority: int = 0,
        explained: bool = False,
    ) -> Ran:
        """Have the engine run an item, the next engine too if this one ends meanwhile.

        Raises what Dispatcher.run raises, InferenceFailed also where the item ends every engine, EngineUnavailable when
        one after the other ended for other reasons, and what `close` was given.
        """
        if self._closed is not None:
            raise self._closed()
        assert isinstance(slot, SharedSlot)
        assert slot.lease is not None
        known = self._known[served.bundle.name]
        id = next(self._ids)
        every = tuple(known.widths)
        request = Request(
            id=id,
            bundle=known.index,
            slot=slot.lease.index,
            deadline=deadline,
            priority=priority,
            alone=slot.alone,
            explained=explained,
            lengths=write_item(item, known.places, slot.lease.region()),
            tasks=() if tasks == every else tuple(every.index(task) for task in tasks),
        )
        if self._deadly and self._content(known, request, slot.lease) in self._deadly:
            raise _deadly()
        slot.lease.hold()
        call = _Call(known, slot.lease, tasks, request, asyncio.get_running_loop().create_future())
        self._calls[id] = call
        self._submit(call)
        try:
            return await call.future
        finally:
            # Cancelled: the engine may still read the slot, so the call is kept until it has said that it does not.
            if id in self._calls and not self._connection.send(wire.pack_id(Kind.CANCEL, id)):
                self._forget(id)

    def _forget(self, id: int) -> _Call | None:
        """No engine has this call any more."""
        call = self._calls.pop(id, None)
        if call is not None:
            call.lease.release()
        return call

    def seconds_for(self, requests: int) -> float:
        """How long so many requests take, by the pace of the answers: between 1 and 60 seconds."""
        return min(max(1.0, max(requests, self._waiting) * self._seconds_per_item), _LONGEST_RETRY)

    def close(self, error: Callable[[], ServiceError]) -> None:
        """End every request that waits or runs with an error of its own, and each that comes later."""
        self._closed = error
        for call in self._calls.values():
            _fail(call, error())
        self._give_up_start()

    def _give_up_start(self) -> None:
        if not self._first_welcome.done():
            self._first_welcome.set_exception(EngineUnavailable("The worker is stopping."))
            self._first_welcome.exception()  # whether somebody waits for it or not

    async def stop(self, timeout: float) -> bool:
        """Leave the engine, which goes on without this worker."""
        self._give_up_start()
        if self._opening is not None:
            await asyncio.wait((self._opening,))
        await self._connection.close()
        for id in list(self._calls):
            self._forget(id)
        if self._slots is not None:
            self._slots.close()
            self._slots = None
        return True

    def _greeting(self) -> tuple[bytes, int]:
        """HELLO and the descriptor that goes with it."""
        assert self._slots is not None
        bundles = [known.bundle.digest for known in self._known.values()]
        hello = {
            "version": wire.VERSION,
            "slots": self._slots.count,
            "slot_bytes": self._slots.nbytes,
            "bundles": bundles,
        }
        return wire.pack_document(Kind.HELLO, hello), self._slots.fd

    def _welcome(self, bundles: Sequence[dict[str, str]]) -> None:
        """An engine is there. What its predecessor left undone comes first."""
        if not self._first_welcome.done():
            self._first_welcome.set_result(bundles)
        for call in list(self._calls.values()):
            self._submit(call)

    def _submit(self, call: _Call) -> None:
        if self._connection.send(wire.pack_request(call.request)):
            call.tries += 1

    def _receive(self, kind: Kind, payload: bytes) -> None:
        if kind == Kind.ANSWER:
            answer = wire.unpack_answer(payload)
            self._end(answer.id, answer)
        elif kind == Kind.ERROR:
            self._end(*wire.unpack_error(payload))
        elif kind == Kind.CANCELLED:
            self._forget(wire.unpack_id(payload))
        else:
            raise ProtocolError(f"an engine sends no {kind.name}")

    def _end(self, id: int, result: Answer | ServiceError) -> None:
        call = self._forget(id)
        if call is None:
            raise ProtocolError("an answer to nothing")
        if isinstance(result, ServiceError):
            _fail(call, result)
            return
        row = _row(result.values, call)
        self._waiting = result.waiting
        self._seconds_per_item += _SMOOTHING * (result.ran / result.batch_size - self._seconds_per_item)
        if not call.future.done():
            call.future.set_result(Ran(row, result.queued, result.ran, result.batch_size))

    def _lost(self) -> None:
        """The engine has ended: nothing reads the slots any more, and nobody answers what it had."""
        self._waiting = 0
        assert self._slots is not None
        running = self._slots.running()
        for id, call in list(self._calls.items()):
            if call.request.slot in running and call.request.alone:
                log.error("a request ended the engine twice, the second time alone; its like are refused from now on")
                self._deadly.add(self._content(call.known, call.request, call.lease))
                _fail(call, _deadly())
            elif call.request.slot in running:
                call.request = replace(call.request, alone=True)
            elif call.tries >= _MOST_TRIES:
                error = "One engine after the other ended while it had this request; try again later."
                _fail(call, EngineUnavailable(error, retry_after=_RESTART_RETRY))
            if call.future.done():
                self._forget(id)

    def _content(self, known: _Known, request: Request, lease: Lease) -> bytes:
        return fingerprint(known.index, request.lengths, known.places, lease.region())


def _read(path: Path) -> Bundle:
    """A bundle without the weights that only the engine needs."""
    bundle = load_bundle(path)
    return replace(bundle, weights={name: w for name, w in bundle.weights.items() if name.startswith("task_relation.")})


def _row(values: NDArray[np.float32], call: _Call) -> Row:
    # In the order of `wire.outputs`.
    own = _by_task(values, call)
    width, inputs = sum(call.known.widths[task] for task in call.tasks), len(call.known.places)
    known = bool(call.known.bundle.calibration.familiarity)
    coalitions = len(between(sum(length > 0 for length in call.request.lengths))) if call.request.explained else 0
    ends = [width, width + inputs, width + (2 * inputs if known else inputs)]
    if len(values) != ends[-1] + coalitions * width:
        raise ProtocolError("an answer of another size")
    _, alpha, distance, further = np.split(values, ends)
    return Row(
        own,
        alpha,
        _by_task(further.reshape(coalitions, width), call) if coalitions else {},
        distance if known else None,
    )


def _by_task(values: NDArray[np.float32], call: _Call) -> dict[str, NDArray[np.float32]]:
    found = {}
    start = 0
    for task in call.tasks:
        end = start + call.known.widths[task]
        found[task] = values[..., start:end]
        start = end
    return found


def _deadly() -> InferenceFailed:
    return InferenceFailed("The engine ends whenever it runs this input; the same input would end it again.")


def _fail(call: _Call, error: ServiceError) -> None:
    if not call.future.done():
        call.future.set_exception(error)
