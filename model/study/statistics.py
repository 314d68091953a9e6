"""Results as figures: means over tasks, spreads over seeds, and differences between variants of the same seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy import stats  # type: ignore[import-untyped]

from model.study.plan import Plan, Share
from model.study.variants import Idea, Variant

METRICS = ("accuracy", "macro_f1")
Verdict = Literal["better", "worse", "open", "one seed"]


@dataclass(frozen=True)
class Figure:
    """A mean over seeds and its standard deviation, None from one seed."""

    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Figure:
        """The figure of one value a seed."""
        return cls(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None)


@dataclass(frozen=True)
class Difference:
    """With an idea less without it, paired by seed: the mean, and half of its 95 % interval, None from one seed."""

    share: Share
    setup: str
    metric: str
    mean: float
    half: float | None

    @property
    def verdict(self) -> Verdict:
        """What it shows: the interval (Student's t) lies above zero, below it, or holds it."""
        if self.half is None:
            return "one seed"
        if abs(self.mean) <= self.half:
            return "open"
        return "better" if self.mean > 0 else "worse"


@dataclass
class Line:
    """One variant at one share: its finished seeds.

    `results`: seed -> setup -> task -> metrics. Of all networks that a seed takes together: parameters, seconds of
    training, and seconds of processor time, these of the seeds that were trained in one go.
    """

    results: dict[int, dict[str, dict[str, dict[str, Any]]]]
    parameters: int
    seconds: list[float]
    core_seconds: list[float]
    failed: dict[int, str]

    def setups(self) -> list[str]:
        """The ways in which it was asked, the one with everything first."""
        return list(next(iter(self.results.values()))) if self.results else []

    def values(self, setup: str, metric: str, task: str | None = None) -> dict[int, float]:
        """Seed -> value: of a task, or the mean of those that have the metric; R² is a regression's accuracy."""
        found: dict[int, float] = {}
        for seed, setups in self.results.items():
            tasks = setups.get(setup, {})
            chosen = tasks.values() if task is None else [tasks[task]] if task in tasks else []
            values = [value for metrics in chosen if (value := _value(metrics, metric)) is not None]
            if values:
                found[seed] = float(np.mean(values))
        return found

    def figure(self, setup: str, metric: str, task: str | None = None) -> Figure | None:
        """Mean and spread of `values`, None where it was not asked so."""
        values = self.values(setup, metric, task)
        return Figure.of(list(values.values())) if values else None


def _value(metrics: dict[str, Any], metric: str) -> float | None:
    if not metrics.get("count"):
        return None
    if metric == "accuracy":
        return float(metrics["accuracy"]) if "accuracy" in metrics else metrics.get("r2")
    return metrics.get(metric)


class Results:
    """All finished runs of a plan."""

    def __init__(self, plan: Plan, out: Path) -> None:
        self.plan = plan
        self.missing = 0
        self.machines: set[str] = set()
        self._lines: dict[tuple[str, Share], Line] = {}
        for share in plan.shares:
            for variant in plan.variants:
                self._lines[variant.name, share] = self._read(variant, share, out)

    def _read(self, variant: Variant, share: Share, out: Path) -> Line:
        line = Line({}, 0, [], [], {})
        for seed in range(share.seeds):
            found = [run.result(out) for run in self.plan.runs(variant, share, seed)]
            if any(result is None for result in found):
                self.missing += 1
                continue
            parts = [result for result in found if result is not None]
            self.machines |= {f"{part['machine']}, torch {part['torch']}" for part in parts}
            failures = [part["failed"] for part in parts if "failed" in part]
            if failures:
                line.failed[seed] = failures[0]
                continue
            merged: dict[str, dict[str, dict[str, Any]]] = {}
            for part in parts:
                for setup, tasks in part["results" if variant.beta else "results_without_beta"].items():
                    merged.setdefault(setup, {}).update(tasks)
            line.results[seed] = merged
            line.parameters = sum(part["parameters"] for part in parts)
            line.seconds.append(sum(part["seconds"] for part in parts))
            used = [part["core_seconds"] for part in parts]
            if None not in used:
                line.core_seconds.append(sum(used))
        return line

    def line(self, name: str, share: Share) -> Line | None:
        """A variant's line at a share, None where the study has none."""
        line = self._lines.get((name, share))
        return line if line is not None and line.results else None

    def failures(self, name: str, share: Share) -> dict[int, str]:
        """Seeds at which a variant could not be trained, and why."""
        return self._lines[name, share].failed

    def setups(self) -> list[str]:
        """Every way in which any variant was asked; those of the base config first."""
        names: dict[str, None] = {}
        for variant in self.plan.variants:
            for share in self.plan.shares:
                line = self.line(variant.name, share)
                names |= dict.fromkeys(line.setups() if line else [])
        return list(names)

    def differences(self, idea: Idea, pair: tuple[str, str]) -> list[Difference]:
        """With less without, at every share, in every way that both were asked, for both metrics."""
        found = []
        for share in self.plan.shares:
            one, two = self.line(pair[0], share), self.line(pair[1], share)
            if one is None or two is None:
                continue
            if idea.across:
                asked = [(one.setups()[0], two.setups()[0])]
            else:
                asked = [(setup, setup) for setup in one.setups() if setup in two.setups()]
            for own, other in asked:
                for metric in METRICS:
                    mine, theirs = one.values(own, metric), two.values(other, metric)
                    deltas = [mine[seed] - theirs[seed] for seed in mine if seed in theirs]
                    if deltas:
                        name = own if own == other else f"{own}, against {other}"
                        found.append(Difference(share, name, metric, float(np.mean(deltas)), interval(deltas)))
        return found


def interval(deltas: Sequence[float]) -> float | None:
    """Half of the 95 % interval of the mean of paired differences, by Student's t; None for one."""
    if len(deltas) < 2:
        return None
    error = float(np.std(deltas, ddof=1)) / float(np.sqrt(len(deltas)))
    return float(stats.t.ppf(0.975, len(deltas) - 1)) * error


def beyond_chance(certain: int, comparisons: int) -> bool:
    """Whether so many certain comparisons, in one direction, are more than chance makes in one of twenty cases.

    An interval of 95 % lies above zero in one of forty where there is nothing, and each comparison counts as if it were
    independent of the others.
    """
    return certain > 0 and bool(stats.binom.sf(certain - 1, comparisons, 0.025) <= 0.05)
