"""The way of a request: admit, look up, intake, batch, run, answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from app.errors import DeadlineExceeded, Draining, EngineUnavailable, ServiceError
from app.intake.pool import IntakePool
from app.intake.prepare import Prepared
from app.serving.admission import Admission, Ticket
from app.serving.answers import familiarity, shape
from app.serving.backend import Backend, MakeBackend, Slot
from app.serving.cache import Cache, key_of
from app.serving.erasing import LOWER, Places, at_once, take_apart
from app.serving.explanations import Parts as TakenApart
from app.serving.explanations import explainable
from app.serving.options import resolve_tasks
from app.serving.registry import Registry, Served
from app.serving.splitting import Row
from app.serving.types import Answer, Options, ServingConfig
from app.telemetry.metrics import Metrics
from model.config import Config
from model.preprocess import Item, TextTokenizer

log = logging.getLogger(__name__)

State = Literal["starting", "ready", "draining", "failed"]
Parts = Mapping[str, bytes | str]

_START_RETRY = 2.0  # seconds; loading takes about as long
_LOST_RETRY = 3.0  # seconds; another process is started, and loads
_DRAIN_RETRY = 5.0  # seconds, in which another instance should have taken over
_HASHED_AT_ONCE = 1 << 18  # bytes; hashing more holds the event loop up for longer than handing it to a thread does
_SHORTEST_STOP = 1.0  # seconds that the engine's thread gets to end, however late it is


class Prepare(Protocol):
    """`app.intake.prepare.prepare` with its limits bound."""

    def __call__(
        self,
        parts: Parts,
        config: Config,
        tokenizers: Mapping[str, TextTokenizer],
        *,
        into: Mapping[str, NDArray[np.uint8]],
    ) -> Prepared:
        """One request's parts as the item that the network reads, its pixels in `into`. Raises ServiceError."""
        ...


class Pipeline:
    """One for the process, in one event loop."""

    def __init__(
        self,
        config: ServingConfig,
        pool: IntakePool,
        prepare: Prepare,
        metrics: Metrics,
        make_backend: MakeBackend,
    ) -> None:
        """Nothing is made or loaded before `start`. The pool stays the caller's to close."""
        self.registry = Registry()
        self._config = config
        self._pool = pool
        self._prepare = prepare
        self._metrics = metrics
        self._make_backend = make_backend
        self._losing: asyncio.Task[str] | None = None
        self.ended = False  # whether the engine is lost for good, and only another process helps
        self._state: State = "starting"
        self._reason: str | None = "not started"
        self._backend: Backend | None = None
        self._admission = Admission(
            config.max_in_flight,
            config.max_bytes_in_flight,
            max_wait=config.max_wait,
            max_batch=max(config.batch_sizes),
            on_refusal=metrics.refusal,
            on_wait=metrics.expected_wait,
        )
        self._explanations = Places(config.max_explanations)
        self._cache = Cache(config.cache_bytes, metrics.cache) if config.cache_bytes else None
        if cache := self._cache:
            metrics.watch_cache(entries=lambda: cache.entries, nbytes=lambda: cache.bytes)
        metrics.watch(
            in_flight=lambda: self._admission.requests,
            bytes_in_flight=lambda: self._admission.bytes,
            queue=lambda: self._backend.waiting if self._backend else 0,
            state=lambda: self.state,
        )

    @property
    def state(self) -> State:
        """Starting, ready, draining or failed. Requests are admitted when ready, and only then."""
        if self._state == "ready" and not (self._backend and self._backend.alive):
            return "failed"
        return self._state

    @property
    def reason(self) -> str | None:
        """What is being started, or what failed; None when ready or draining."""
        if self._state == "ready" and self.state == "failed":
            return "the engine has ended"
        return self._reason

    async def start(self) -> None:
        """Load the bundles, check their golden cases, warm up; then ready.

        Where that fails, the state is failed with the reason, and the error is raised: BundleError, or
        RuntimeUnavailable for a device that is not there.
        """
        self._backend = backend = self._make_backend(self._config, self._metrics)
        self._losing = asyncio.create_task(self._lose(backend))
        try:
            for path in self._config.bundles:
                self._reason = f"loading {path}"
                await self._load(backend, path)
        except EngineUnavailable:
            log.info("start was given up: the service is draining")
        except Exception as error:
            self._state, self._reason = "failed", str(error)
            await backend.stop(_SHORTEST_STOP)
            raise
        if self._state == "starting":
            self._state, self._reason = "ready", None

    async def lost(self) -> str:
        """Return once the engine is lost for good, with the reason. To be asked when `start` has ended."""
        assert self._losing is not None
        return await asyncio.shield(self._losing)

    async def _lose(self, backend: Backend) -> str:
        reason = await backend.lost()
        self.ended = True
        backend.close(_lost)
        return reason

    async def _load(self, backend: Backend, path: Path) -> None:
        started = time.monotonic()
        served = await backend.load(path)
        self.registry.add([served])
        bundle = served.bundle
        self._metrics.bundle(bundle.name, bundle.version, bundle.digest, served.device)
        log.info(
            "bundle %s %s is ready after %.1f s: %s, %s, %s",
            bundle.name, bundle.version, time.monotonic() - started, served.runtime, served.device, served.precision,
        )  # fmt: skip

    async def drain(self, timeout: float) -> None:
        """Refuse new requests, let accepted ones finish for `timeout` seconds, end the rest, stop the engine.

        Can be called in any state, and again. Raises nothing.
        """
        ends = time.monotonic() + timeout
        if self._state != "failed":
            self._state, self._reason = "draining", None
        try:
            async with asyncio.timeout(timeout):
                await self._admission.wait_idle()
        except TimeoutError:
            log.warning("%d requests did not finish within %g s", self._admission.requests, timeout)
        if self._losing:
            self._losing.cancel()
        if self._backend and not self.ended:
            self._backend.close(_draining)
        if self._backend and not await self._backend.stop(max(_SHORTEST_STOP, ends - time.monotonic())):
            log.error("the engine is still busy; it ends with the process")

    def admit(self, nbytes: int, deadline: float | None = None) -> Ticket:
        """A place in flight, to be had before a body is read: `with pipeline.admit(content_length) as ticket:`.

        `deadline`: a time.monotonic() value, by default the configured seconds from now. As the body comes,
        `ticket.arrived` is told. Raises QueueFull, TooLarge, Draining, EngineUnavailable; such
        a refusal is counted in the metrics.
        """
        try:
            self._check_ready()
            if deadline is None:
                deadline = time.monotonic() + self._config.default_deadline
            return self._admission.enter(nbytes, deadline)
        except ServiceError as error:
            self._metrics.request(error.code)
            raise

    @property
    def full(self) -> bool:
        """Whether `refusal` would give one."""
        return self.state == "ready" and self._admission.full() is not None

    def refusal(self) -> ServiceError | None:
        """What `admit` would raise now for any request because too much is in flight, counted as it counts it."""
        refusal = self._admission.refusal() if self.state == "ready" else None
        if refusal is not None:
            self._metrics.request(refusal.code)
        return refusal

    async def predict(
        self,
        parts: Parts,
        options: Options,
        *,
        model: str | None = None,
        deadline: float | None = None,
        ticket: Ticket | None = None,
        priority: int = 0,
    ) -> Answer:
        """Every asked task's answer to one request's parts.

        `ticket`: the place that the caller took with `admit`, and keeps; its deadline counts. Without one, a place is
        taken here for the size of the parts, with `deadline` as in `admit`. Raises ServiceError of every kind; the
        outcome is counted in the metrics.
        """
        if ticket is None:
            with self.admit(_size(parts), deadline) as own:
                own.arrived(_size(parts))
                return await self.predict(parts, options, model=model, ticket=own, priority=priority)
        outcome = "internal-error"
        try:
            answer = await self._answer_in_time(parts, options, model, ticket, priority)
            outcome = "ok"
            self._metrics.stages(answer.timings)
            return answer
        except ServiceError as error:
            outcome = error.code
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            self._metrics.request(outcome)

    async def _answer_in_time(
        self, parts: Parts, options: Options, model: str | None, ticket: Ticket, priority: int
    ) -> Answer:
        if ticket.remaining <= 0:
            raise _late()
        try:
            async with asyncio.timeout(ticket.remaining) as limit:
                return await self._answer(parts, options, model, ticket, priority)
        except TimeoutError:
            if limit.expired():
                raise _late() from None
            raise

    async def _answer(self, parts: Parts, options: Options, model: str | None, ticket: Ticket, priority: int) -> Answer:
        entered = time.monotonic()
        ticket.begin()
        served = self.registry.get(model)
        tasks = resolve_tasks(options, served.bundle.config)
        work = partial(self._work, parts, options, served, tasks, ticket, priority, entered)
        if self._cache is None:
            return await work()
        bundle = f"{served.bundle.name} {served.bundle.version} {served.bundle.digest}"
        if _size(parts) <= _HASHED_AT_ONCE:
            key = key_of(parts, options, tasks, bundle)
        else:
            key = await self._pool.run(key_of, parts, options, tasks, bundle)
        return await self._cache.answer(key, work)

    async def _work(
        self,
        parts: Parts,
        options: Options,
        served: Served,
        tasks: tuple[str, ...],
        ticket: Ticket,
        priority: int,
        entered: float,
    ) -> Answer:
        """Answer from scratch: intake, batch, run."""
        backend = self._backend
        if backend is None:
            raise self._unavailable()
        config = served.bundle.config
        calibration = served.bundle.calibration
        admitted = time.monotonic()
        taken_apart: dict[str, TakenApart] = {}
        extra: dict[str, float] = {}
        with self._explanations.taken() if options.explain == "full" else nullcontext(), backend.slot(served) as slot:
            prepared = await self._pool.run(self._prepare_in_time, parts, served, slot, ticket.deadline)
            taken_in = time.monotonic()
            explained = bool(options.explain) and explainable(tasks, len(prepared.item), calibration)
            ran = await backend.run(served, slot, prepared.item, tasks, ticket.deadline, priority, explained)
            delivered = time.monotonic()
            ticket.answered()
            if explained and options.explain == "full":
                # Within the slot: the items that lack a part of the text show the pixels that are in it.
                taken_apart = await take_apart(
                    served.bundle,
                    prepared,
                    {name: part for name, part in parts.items() if isinstance(part, str)},
                    ran.row,
                    tasks,
                    pool=self._pool,
                    answer=partial(self._answer_item, backend, served, tasks, ticket.deadline, priority - LOWER),
                    width=at_once(self._config.batch_sizes),
                )
                extra["explain"] = time.monotonic() - delivered
        modalities = tuple(name for name in config.modalities if name in prepared.item)
        relation = served.bundle.relation_weights() if options.explain else {}
        predictions = shape(ran.row, tasks, modalities, options, config, calibration, relation, taken_apart)
        return Answer(
            model=served.bundle.name,
            version=served.bundle.version,
            modalities=modalities,
            predictions=predictions,
            familiarity=familiarity(ran.row, modalities, config, calibration),
            truncated=prepared.truncated,
            timings={
                "admit": admitted - entered,
                "intake": taken_in - admitted,
                "queue": ran.queued,
                "run": ran.ran,
                **extra,
                "answer": time.monotonic() - delivered - extra.get("explain", 0.0),
            },
            batch_size=ran.batch_size,
        )

    async def _answer_item(
        self, backend: Backend, served: Served, tasks: tuple[str, ...], deadline: float, priority: int, item: Item
    ) -> Row:
        """The answers to an item that intake has not made, and to its coalitions."""
        with backend.slot(served) as slot:
            return (await backend.run(served, slot, item, tasks, deadline, priority, True)).row

    def _prepare_in_time(self, parts: Parts, served: Served, slot: Slot, deadline: float) -> Prepared:
        # In the pool's thread: a request may have waited for it past its deadline.
        if time.monotonic() >= deadline:
            raise _late()
        with slot.held():
            return self._prepare(parts, served.bundle.config, served.bundle.tokenizers, into=slot.buffers)

    def _check_ready(self) -> None:
        state = self.state
        if state == "draining":
            raise _draining()
        if state != "ready":
            raise self._unavailable()

    def _unavailable(self) -> EngineUnavailable:
        if self.state == "starting":
            return EngineUnavailable("The service is still starting; try again shortly.", retry_after=_START_RETRY)
        return EngineUnavailable("The engine has failed; its log says why.", retry_after=_DRAIN_RETRY)


def _draining() -> Draining:
    return Draining("The service is shutting down; try again shortly.", retry_after=_DRAIN_RETRY)


def _lost() -> EngineUnavailable:
    return EngineUnavailable("The engine has failed and is started again; try again shortly.", retry_after=_LOST_RETRY)


def _late() -> DeadlineExceeded:
    return DeadlineExceeded("The deadline passed before the answer was ready; allow more time or try again later.")


def _size(parts: Parts) -> int:
    return sum(len(part) for part in parts.values())
