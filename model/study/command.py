"""The command `trunkline study`: make what is missing of a study, then write its page."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress, TaskID

from model.terminal import console, device_of, fail, loading_bars, need_the_train_extra, progress_bars, read_words

if TYPE_CHECKING:
    from model.study.plan import Run, Share
    from model.study.variants import Variant
    from model.study.workers import Work


def study_command(
    config: Annotated[Path, typer.Argument(help="Config of the base, such as configs/study.yaml.")],
    data: Annotated[Path, typer.Option(help="Folder or zip with the table and the pictures, or the table itself.")],
    out: Annotated[Path, typer.Option(help="Folder of the runs' results; an interrupted study goes on there.")],
    page: Annotated[Path | None, typer.Option(help="Page to write results into. Default: study.md in --out.")] = None,
    fractions: Annotated[str, typer.Option(help="Shares of the training data.")] = "0.05,0.25,1",
    seeds: Annotated[str, typer.Option(help="Seeds at each share, or one number for all.")] = "3",
    epochs: Annotated[str, typer.Option(help="Epochs at each share, or one number for all.")] = "32,8,4",
    variants: Annotated[str, typer.Option(help="Names of variants, separated by commas; all when left out.")] = "",
    jobs: Annotated[int, typer.Option(min=1, help="Runs side by side, each in a process of its own.")] = 1,
    mask_words: Annotated[
        Path | None, typer.Option(help="Words, one a line, to mask instead of those that name a label.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or a torch device.")] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads of each job; 0: the cores divided by the jobs.")] = 0,
    cache: Annotated[Path | None, typer.Option(help="Where decoded pictures are kept.")] = None,
    page_only: Annotated[bool, typer.Option("--page-only", help="Write the page of what is there.")] = False,
) -> None:
    """Train variants of a config on shares of the data from several seeds, and write what helps and what does not.

    Run it again after an interruption and it goes on: a finished run is not made twice.
    """
    need_the_train_extra("matplotlib")
    import torch

    from model.config import ConfigError, load_config
    from model.data.faults import DataError
    from model.network.encoders import resolve_encoders
    from model.study.page import write_page
    from model.study.plan import make_plan
    from model.study.statistics import Results
    from model.study.workers import Work

    cores = threads or max(1, len(os.sched_getaffinity(0)) // jobs)
    torch.set_num_threads(cores)
    try:
        shares, chosen = _shares(fractions, seeds, epochs), _chosen(variants)
        words = None if mask_words is None else read_words(mask_words)
        work = Work(
            resolve_encoders(load_config(config)), data.resolve(), out, str(device_of(device)), cores, cache, words
        )
        with progress_bars() as progress:
            dataset = work.load(loading_bars(progress))
            masked = "" if words is None else hashlib.sha256("\n".join(sorted(words)).encode()).hexdigest()
            plan = make_plan(dataset.config, chosen, shares, dataset.fingerprint + masked)
            for name, reason in plan.left_out.items():
                console.print(f"left out: {name} ({reason})", markup=False, soft_wrap=True)
            if not page_only:
                _make_missing(work, dataset, list(plan.all()), jobs, progress)
        target = page or out / "study.md"
        command = f"trunkline study {config} --data PATH --out PATH --fractions {fractions} --seeds {seeds}"
        command += f" --epochs {epochs}" + (f" --variants {variants}" if variants else "")
        write_page(Results(plan, out), target, command + (" --mask-words FILE" if mask_words else ""))
    except (ConfigError, DataError, OSError) as error:
        raise fail(error) from None
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on where it was")
        raise typer.Exit(130) from None
    console.print(f"wrote {target}", soft_wrap=True)


class _Bars:
    """Two bars: the study, and the training that runs; a `trainer.Reporter` for the latter."""

    def __init__(self, progress: Progress, runs: Sequence[Run], finished: int) -> None:
        self.progress = progress
        # A run takes about as long as it sees samples.
        self.whole = progress.add_task("study", total=sum(map(_size, runs)), info="")
        self.finished, self.count = finished, len(runs)
        self.one: TaskID | None = None

    def begin(self, run: Run) -> _Bars:
        """A run begins."""
        if self.one is None:
            self.one = self.progress.add_task("", total=1.0, info="")
        self.progress.reset(self.one, description=f"{run.variant}, {run.fraction:.0%}, seed {run.seed}", info="")
        return self

    def done(self, run: Run) -> None:
        """A run's result is there."""
        self.finished += 1
        self.progress.update(self.whole, advance=_size(run), info=f"{self.finished} of {self.count} runs")

    def step(self, epoch: int, done: int, total: int, loss: float, progress: float, seconds: float) -> None:
        """See `trainer.Reporter`."""
        if self.one is not None:
            self.progress.update(self.one, completed=progress, info=f"epoch {epoch}, loss {loss:.3f}")

    def epoch(self, record: dict[str, Any]) -> None:
        """See `trainer.Reporter`."""
        if self.one is not None:
            self.progress.update(self.one, completed=record["progress"], info=f"score {record['score']:.3f}")

    def note(self, message: str) -> None:
        """See `trainer.Reporter`."""


def _size(run: Run) -> float:
    return run.fraction * run.config.training.epochs if run.method == "network" else run.fraction


def _make_missing(work: Work, dataset: Any, runs: Sequence[Run], jobs: int, progress: Progress) -> None:
    from model.study.workers import run_here, run_side_by_side

    missing = [run for run in runs if run.result(work.out) is None]
    bars = _Bars(progress, runs, len(runs) - len(missing))
    progress.update(bars.whole, completed=sum(map(_size, runs)) - sum(map(_size, missing)))
    if jobs == 1:
        run_here(work, dataset, missing, bars.begin, bars.done)
    elif missing:
        run_side_by_side(work, missing, jobs, bars.done)


def _chosen(names: str) -> list[Variant]:
    from model.config import ConfigError
    from model.study.variants import VARIANTS, by_name

    if not names:
        return list(VARIANTS)
    try:
        return [by_name(name.strip()) for name in names.split(",")]
    except KeyError as error:
        known = ", ".join(variant.name for variant in VARIANTS)
        raise ConfigError(f"--variants: no variant {error}; the variants are {known}") from None


def _shares(fractions: str, seeds: str, epochs: str) -> list[Share]:
    from model.config import ConfigError
    from model.study.plan import Share

    parts = _numbers("--fractions", fractions)
    if not all(0 < part <= 1 for part in parts):
        raise ConfigError(f"--fractions {fractions}: a share of the data is above 0 and at most 1")
    counts = []
    for flag, text in (("--seeds", seeds), ("--epochs", epochs)):
        values = _numbers(flag, text)
        if len(values) not in (1, len(parts)) or not all(value >= 1 and value.is_integer() for value in values):
            raise ConfigError(f"{flag} {text}: give one whole number above 0, or one for each of {fractions}")
        counts.append([int(value) for value in (values * len(parts) if len(values) == 1 else values)])
    return [Share(fraction, *rest) for fraction, *rest in zip(parts, *counts, strict=True)]


def _numbers(flag: str, text: str) -> list[float]:
    from model.config import ConfigError

    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"{flag} {text}: give numbers separated by commas") from None
