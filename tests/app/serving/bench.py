"""A pipeline around a tiny bundle, whose engine runs only when a test opens its gate."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from app.errors import ServiceError
from app.intake.limits import Limits
from app.intake.pool import IntakePool
from app.intake.prepare import prepare
from app.serving.backend import LocalBackend
from app.serving.pipeline import Pipeline
from app.serving.runtime import Later, Pending
from app.serving.runtimes.torch import TorchRuntime
from app.serving.types import Answer, Options, ServingConfig
from app.telemetry.metrics import Metrics
from model.bundle import Bundle
from model.outputs import Outputs
from model.preprocess import Item, Narrowed
from tests.support.tiny import WORDS

T = TypeVar("T")
PATIENCE = 20.0  # seconds after which a test that waits for a thread has failed
ALL = Options(top_k=100)


class GatedRuntime:
    """A real runtime that stands still while its gate is shut, and fails on items that a test calls poisoned."""

    name = "torch"
    device = "cpu"
    precision = "fp32"
    lengths: tuple[int, ...] = ()
    in_flight = 1

    def __init__(self, bundle: Bundle) -> None:
        self._inner = TorchRuntime(bundle, "cpu", threads=1)
        self._entered = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()
        self.calls: list[tuple[int, tuple[str, ...] | None]] = []  # batch size and heads of each forward
        self.poisoned: Callable[[Item], BaseException | None] = lambda item: None
        self.shuts_at: Callable[[Sequence[Item]], bool] = lambda items: False  # a batch that shuts the gate by itself
        self.stands = threading.Event()  # set by such a batch

    def start(
        self, items: Sequence[Item], tasks: Sequence[str] | None = None, narrowed: Narrowed | None = None
    ) -> Pending:
        return Later(partial(self._run, items, tasks, narrowed))

    def _run(self, items: Sequence[Item], tasks: Sequence[str] | None, narrowed: Narrowed | None) -> Outputs:
        self.calls.append((len(items), None if tasks is None else tuple(tasks)))
        self._entered.release()
        if self.shuts_at(items):
            self.gate.clear()
            self.stands.set()
        assert self.gate.wait(PATIENCE), "the test left the gate shut"
        for item in items:
            if error := self.poisoned(item):
                raise error
        return self._inner.start(items, tasks, narrowed).result()

    def shut(self) -> None:
        """Let the next forward stand still, and forget those before."""
        self.gate.clear()
        self.calls.clear()
        while self._entered.acquire(blocking=False):
            pass

    async def entered(self) -> None:
        """Return when a forward, not counted yet, has begun."""
        assert await asyncio.to_thread(self._entered.acquire, timeout=PATIENCE), "no forward began"


class InlinePool(IntakePool):
    """Runs at once, in the event loop, so that a test knows what has been prepared."""

    def __init__(self) -> None: ...

    async def run(self, function: Callable[..., T], *args: object) -> T:
        return function(*args)

    def close(self) -> None: ...


class Bench:
    """A pipeline with everything around it that a test looks at."""

    def __init__(self, bundle: Path, pool: IntakePool | None = None, **config: Any) -> None:
        self.metrics = Metrics()
        self.runtimes: list[GatedRuntime] = []
        settings = replace(
            ServingConfig(bundles=(bundle,), batch_sizes=(1, 2, 4), max_queue=8, cache_bytes=0), **config
        )
        self.pool = pool or InlinePool()
        self.pipeline = Pipeline(
            settings,
            self.pool,
            partial(prepare, limits=Limits()),
            self.metrics,
            partial(LocalBackend, make_runtime=self.make_runtime),
        )

    def make_runtime(self, bundle: Bundle) -> GatedRuntime:
        self.runtimes.append(GatedRuntime(bundle))
        return self.runtimes[-1]

    @property
    def runtime(self) -> GatedRuntime:
        return self.runtimes[0]

    def value(self, name: str, /, **labels: str) -> float:
        """A metric as `/metrics` would show it now."""
        return self.metrics.registry.get_sample_value(f"trunkline_{name}", labels) or 0.0


@asynccontextmanager
async def running(bundle: Path, pool: IntakePool | None = None, **config: Any) -> AsyncIterator[Bench]:
    """A started pipeline; its gate is opened and its engine stopped at the end."""
    bench = Bench(bundle, pool, **config)
    await bench.pipeline.start()
    try:
        yield bench
    finally:
        for runtime in bench.runtimes:
            runtime.gate.set()
        await bench.pipeline.drain(PATIENCE)
        bench.pool.close()


async def settle() -> None:
    """Let every task run until it waits for something outside the event loop."""
    for _ in range(20):
        await asyncio.sleep(0)


def picture(seed: int) -> np.ndarray:
    """Pixels of the tiny bundle's image, different for every seed."""
    return np.random.default_rng(seed).integers(0, 256, (16, 12, 3), dtype=np.uint8)


def png(seed: int) -> bytes:
    """The tiny bundle's image as a file, different for every seed."""
    buffer = io.BytesIO()
    Image.fromarray(picture(seed)).save(buffer, "PNG")
    return buffer.getvalue()


def parts(seed: int) -> dict[str, bytes | str]:
    """A request unlike that of any other seed, with photo, title or both."""
    words = [WORDS[(seed * step) % len(WORDS)] for step in range(1, 2 + seed % 7)]
    both: dict[str, bytes | str] = {"image": png(seed), "text": " ".join(words)}
    return {name: value for name, value in both.items() if seed % 8 != {"image": 3, "text": 5}[name]}


def ask(bench: Bench, seed: int, options: Options = ALL, **more: Any) -> asyncio.Task[Answer]:
    return asyncio.create_task(bench.pipeline.predict(parts(seed), options, **more))


async def outcome(call: Coroutine[Any, Any, Answer] | asyncio.Task[Answer]) -> Answer | ServiceError:
    try:
        async with asyncio.timeout(PATIENCE):
            return await call
    except ServiceError as error:
        return error


def numbers(answer: Answer | ServiceError) -> np.ndarray:
    """Every number of an answer, in an order that does not depend on their size."""
    assert isinstance(answer, Answer)

    def walk(value: Any) -> list[float]:
        if isinstance(value, dict):
            return [x for key in sorted(value) for x in walk(value[key])]
        if isinstance(value, list):
            return [x for entry in sorted(value, key=str) for x in walk(entry)]
        return [float(value)] if isinstance(value, (int, float)) else []

    found = []
    for prediction in answer.predictions.values():
        confidences = {entry["label"]: entry["confidence"] for entry in prediction.get("top", [])}
        found += walk({**prediction, "top": confidences})
    return np.array(found)
