"""The missing runs of a study, one after another or side by side in processes that share the decoded pictures."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch

from model.config import Config
from model.data.dataset import Dataset, load_dataset
from model.data.images import Progress
from model.study.execute import execute
from model.study.plan import Run
from model.training.trainer import Reporter


@dataclass(frozen=True)
class Work:
    """What all runs of a study have in common."""

    config: Config
    data: Path
    out: Path
    device: str
    threads: int
    cache: Path | None
    masked_words: frozenset[str] | None

    def load(self, progress: Progress | None = None) -> Dataset:
        """The whole data set, its pictures decoded or found in the cache."""
        return load_dataset(self.config, self.data, cache=self.cache, progress=progress)


class Quiet:
    """A `trainer.Reporter` that nobody hears."""

    def step(self, epoch: int, done: int, total: int, loss: float, progress: float, seconds: float) -> None:
        """See `trainer.Reporter`."""

    def epoch(self, record: dict[str, Any]) -> None:
        """See `trainer.Reporter`."""

    def note(self, message: str) -> None:
        """See `trainer.Reporter`."""


def run_here(
    work: Work, dataset: Dataset, runs: Sequence[Run], begins: Callable[[Run], Reporter], done: Callable[[Run], None]
) -> None:
    """Make the runs one after another; `begins` gives each one's reporter, `done` is told when its result is saved."""
    torch.set_num_threads(work.threads)
    for run in runs:
        execute(run, dataset, work.out, torch.device(work.device), begins(run), work.masked_words)
        done(run)


def run_side_by_side(work: Work, runs: Sequence[Run], jobs: int, done: Callable[[Run], None]) -> None:
    """Make the runs in `jobs` processes. Raises what the first run to fail raised, when those that run have ended."""
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_begin, initargs=(work,)) as pool:
        futures = {pool.submit(_make, run): run for run in runs}
        try:
            for future in as_completed(futures):
                future.result()
                done(futures[future])
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


_common: tuple[Work, Dataset] | None = None


def _begin(work: Work) -> None:
    """Load what the process needs for all its runs."""
    global _common
    torch.set_num_threads(work.threads)
    _common = work, work.load()
    parent = parent_process()
    assert parent is not None
    # A killed study must not leave processes that wait for its next word.
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def _make(run: Run) -> None:
    assert _common is not None
    work, dataset = _common
    execute(run, dataset, work.out, torch.device(work.device), Quiet(), work.masked_words)
