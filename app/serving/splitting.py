"""A batch that fails is split and run again, so that an item which breaks the network fails alone.

The same halving finds the size that there is memory for, where a batch was too large for the device.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from app.errors import EngineUnavailable, InferenceFailed, ServiceError
from app.serving.runtime import Runtime, lacks_memory
from model.explanation import narrowed_to_coalitions
from model.hierarchy import Hierarchies
from model.outputs import Outputs
from model.preprocess import Item, Narrowed

log = logging.getLogger(__name__)

_MEMORY_RETRY = 2.0  # seconds; whoever else takes the memory may be done by then


@dataclass(frozen=True)
class Row:
    """One item's share of a batch's outputs."""

    probabilities: dict[str, np.ndarray]  # task -> [C], see model.outputs.Outputs
    alpha: np.ndarray  # [M]
    coalitions: dict[str, np.ndarray] = field(default_factory=dict)  # task -> [n, C], see model.explanation.coalitions
    distance: np.ndarray | None = None  # [M], of bundles that have familiarity


@dataclass(frozen=True)
class Batch:
    """What runs together: items of one bundle, and the heads that any of them asks for (None: all)."""

    runtime: Runtime
    items: Sequence[Item]
    tasks: tuple[str, ...] | None
    probe: Item | None = None  # an item that the runtime has answered, to tell a bad item from a broken device
    hierarchies: Hierarchies | None = None  # what keeps the answers from contradicting one another
    modalities: Sequence[str] = ()  # of the bundle
    explained: Sequence[bool] = ()  # the items that are answered for the coalitions of their modalities as well


class Run:
    """One batch's way through the engine, in one of its threads."""

    def __init__(self, batch: Batch, starting: contextlib.AbstractContextManager[object]) -> None:
        """`starting` is held while the runtime starts a batch, not while it runs."""
        self.batch = batch
        self.since = time.monotonic()  # when the forward that runs now began; read by other threads
        self.longest = 0.0  # seconds of a forward
        self.short_of_memory: int | None = None  # the smallest part of the batch that there was no memory for
        self.nothing_works = False  # whether even the probe fails
        self._starting = starting

    def results(self) -> list[Row | ServiceError]:
        """What became of each item, in their order. Raises nothing."""
        return self._run(self.batch.items, self.batch.explained)

    def _run(self, items: Sequence[Item], explained: Sequence[bool]) -> list[Row | ServiceError]:
        self.since = time.monotonic()
        try:
            narrowed = narrowed_to_coalitions(items, self.batch.modalities, explained) if any(explained) else None
            with self._starting:
                pending = self.batch.runtime.start(items, self.batch.tasks, narrowed)
            rows = _rows(pending.result(), len(items), narrowed, self.batch.hierarchies)
            self.longest = max(self.longest, time.monotonic() - self.since)
            return rows
        except BaseException as error:  # the thread outlives even SystemExit in a forward
            lacking = lacks_memory(error)
            if lacking:
                self.short_of_memory = len(items)
            if len(items) == 1:
                log.exception("the network failed on one item")
            else:
                name = type(error).__name__
                log.warning("a batch of %d failed (%s); trying its halves", len(items), name)
        # Outside of the handler: what was raised refers to what the forward had allocated.
        if len(items) == 1:
            return [self._why_alone(lacking)]
        middle = len(items) // 2
        return self._run(items[:middle], explained[:middle]) + self._run(items[middle:], explained[middle:])

    def _why_alone(self, lacking: bool) -> ServiceError:
        if lacking:
            detail = "The device had no memory left for this request; try again later."
            return EngineUnavailable(detail, retry_after=_MEMORY_RETRY)
        if self._broken():
            return EngineUnavailable("The engine has failed; it is started again.", retry_after=_MEMORY_RETRY)
        return InferenceFailed("The network failed on this input; the same input is likely to fail again.")

    def _broken(self) -> bool:
        """Whether the fault is not the item's: an item that was answered before fails as well."""
        if self.batch.probe is None or self.nothing_works:
            return self.nothing_works
        self.since = time.monotonic()
        try:
            with self._starting:
                pending = self.batch.runtime.start([self.batch.probe])
            pending.result()
        except BaseException as error:
            self.nothing_works = not lacks_memory(error)
        return self.nothing_works


def _rows(
    outputs: Outputs, count: int, narrowed: Narrowed | None, hierarchies: Hierarchies | None
) -> list[Row | ServiceError]:
    total = count if narrowed is None else count + len(narrowed.rows)
    finite = np.ones(total, dtype=np.bool_)
    for values in outputs.probabilities.values():
        finite &= np.isfinite(values).reshape(total, -1).all(axis=1)
    answers = outputs.probabilities if hierarchies is None else hierarchies.consistent(outputs.probabilities)
    further: list[dict[str, np.ndarray]] = [{}] * count
    if narrowed is not None:
        np.logical_and.at(finite, narrowed.rows, finite[count:])
        # Those to one item stand together, and items in order.
        ends = np.searchsorted(narrowed.rows, np.arange(count + 1)) + count
        further = [{task: v[i:j] for task, v in answers.items()} for i, j in pairwise(ends.tolist())]
    return [
        Row(
            {task: values[index] for task, values in answers.items()},
            outputs.alpha[index],
            further[index],
            None if outputs.distance is None else outputs.distance[index],
        )
        if good
        else InferenceFailed("The network gave no finite answer for this input.")
        for index, good in enumerate(finite[:count].tolist())
    ]
