"""Calibration: temperatures, the β mix and conformal thresholds, per task and per availability pattern; a task's prior.

Fitted on validation data, priors on training data; stored as `calibration.json` in the bundle.
"""

from __future__ import annotations

import itertools
import math
import operator
from bisect import bisect_left
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from model import conformal
from model.config import FUSED, Config, Task
from model.familiarity import Curve

# Thresholds are stored on a grid; between two of its points the next higher one is used, which never covers too little.
COVERAGES = tuple(round(0.5 + 0.01 * step, 2) for step in range(50)) + (0.995, 0.999)


class TaskCalibration(BaseModel):
    """What was fitted for one task in one availability pattern."""

    model_config = ConfigDict(extra="forbid")

    temperatures: dict[str, float]
    beta: dict[str, float]
    mix_temperature: tuple[float, float] = Field(
        default=(0.0, 0.0),
        exclude_if=lambda value: value == (0.0, 0.0),
        description="(level, slope) of `model.network.multi_model.temper`, which the mix goes through",
    )
    thresholds: list[float | None] = Field(default=[], description="one for each of COVERAGES; null means everything")


class Calibration(BaseModel):
    """Temperatures, β and thresholds: pattern key -> task -> values. Priors: task -> what is known without input.

    And the curve of each modality's familiarity.
    """

    model_config = ConfigDict(extra="forbid")

    patterns: dict[str, dict[str, TaskCalibration]]
    priors: dict[str, list[float]] = Field(
        default={}, exclude_if=operator.not_, description="one answer a task, as `model.outputs.Outputs` has them"
    )
    familiarity: dict[str, Curve] = Field(
        default={}, exclude_if=operator.not_, description="modality -> curve; none where it was not fitted"
    )

    def beta(self, task: str, pattern: Sequence[str]) -> dict[str, float]:
        """Mixing weights of the members, which sum to 1."""
        return dict(self.patterns[pattern_key(pattern)][task].beta)

    def threshold(self, task: str, pattern: Sequence[str], coverage: float) -> float | None:
        """The conformal threshold for a coverage, infinite where too few samples were seen; None: not calibrated."""
        thresholds = self.patterns[pattern_key(pattern)][task].thresholds
        if not thresholds:
            return None
        index = bisect_left(COVERAGES, coverage - 1e-9)
        value = thresholds[index] if index < len(COVERAGES) else None
        return math.inf if value is None else value


def pattern_key(pattern: Sequence[str]) -> str:
    """One availability pattern as a string: the present modalities, in the order of the config."""
    return "+".join(pattern)


def patterns_of(config: Config) -> list[tuple[str, ...]]:
    """Every non-empty set of modalities, the full one first, each in the order of the config."""
    names = list(config.modalities)
    return [subset for size in range(len(names), 0, -1) for subset in itertools.combinations(names, size)]


def members_of(config: Config) -> list[str]:
    """The members of the mix: the fused network, then each single-modality network."""
    return [FUSED, *config.modalities]


def uncalibrated(config: Config) -> Calibration:
    """Temperatures of 1 and the fused network alone."""
    patterns: dict[str, dict[str, TaskCalibration]] = {}
    for pattern in patterns_of(config):
        members = [FUSED, *pattern]
        patterns[pattern_key(pattern)] = {
            task: TaskCalibration(
                temperatures=dict.fromkeys(members, 1.0), beta={m: float(m == FUSED) for m in members}
            )
            for task in config.tasks
        }
    return Calibration(patterns=patterns)


def check_complete(calibration: Calibration, config: Config) -> None:
    """Raise ValueError naming the first pattern, task or member that the calibration lacks."""
    unknown = calibration.familiarity.keys() - config.modalities.keys()
    if unknown:
        raise ValueError(f"familiarity of {min(unknown)!r}, which is no modality")
    for pattern in patterns_of(config):
        tasks = calibration.patterns.get(pattern_key(pattern))
        if tasks is None:
            raise ValueError(f"no calibration for pattern {pattern_key(pattern)!r}")
        for name in config.tasks:
            if name not in tasks:
                raise ValueError(f"no calibration for task {name!r} in pattern {pattern_key(pattern)!r}")
            entry = tasks[name]
            for values in (entry.temperatures, entry.beta):
                if set(values) != {FUSED, *pattern}:
                    raise ValueError(f"task {name!r}, pattern {pattern_key(pattern)!r}: wrong members {sorted(values)}")
            if any(not value > 0 for value in entry.temperatures.values()):
                raise ValueError(f"task {name!r}, pattern {pattern_key(pattern)!r}: a temperature is not above 0")
            # Written so that a NaN fails.
            if not all(value >= 0 for value in entry.beta.values()) or not abs(sum(entry.beta.values()) - 1) <= 1e-4:
                raise ValueError(f"task {name!r}, pattern {pattern_key(pattern)!r}: beta is not a convex mix")
            if not all(map(math.isfinite, entry.mix_temperature)):
                raise ValueError(f"task {name!r}, pattern {pattern_key(pattern)!r}: a mix_temperature is not finite")
            if any(entry.mix_temperature) and not has_classes(config.tasks[name]):
                raise ValueError(f"task {name!r}: a mix_temperature is for tasks whose answer is one class of several")
            if entry.thresholds and len(entry.thresholds) != len(COVERAGES):
                raise ValueError(f"task {name!r}, pattern {pattern_key(pattern)!r}: {len(COVERAGES)} thresholds needed")
    for name, prior in calibration.priors.items():
        if name not in config.tasks:
            raise ValueError(f"a prior of {name!r}, which is no task")
        if len(prior) != answer_size(config.tasks[name]) or not all(math.isfinite(value) for value in prior):
            raise ValueError(f"task {name!r}: a prior has {answer_size(config.tasks[name])} finite numbers")


def answer_size(task: Task) -> int:
    """How many numbers an answer to the task is: C of `model.outputs.Outputs`."""
    return 1 if task.kind in ("binary", "regression") else len(task.labels)


def has_classes(task: Task) -> bool:
    """Whether an answer is one probability a class, which sum to 1."""
    return task.kind in ("multiclass", "ordinal")


def fit_thresholds(task: Task, answers: NDArray[np.floating], targets: NDArray[np.generic]) -> list[float | None]:
    """Conformal thresholds on the COVERAGES grid; empty for kinds without sets. answers: [n, C]; targets: [n]."""
    if task.kind not in ("multiclass", "ordinal", "regression") or not len(targets):
        return []
    values = np.sort(conformal.scores(task.kind, answers, targets))
    thresholds = [conformal.quantile(values, coverage) for coverage in COVERAGES]
    return [None if np.isinf(value) else round(value, 6) for value in thresholds]


def fit_beta(likelihoods: Mapping[str, NDArray[np.floating]], rounds: int = 200) -> dict[str, float]:
    """Mixture weights that maximise Σ log Σ_i β_i p_i, by expectation maximisation (convex: one optimum).

    likelihoods: member -> the probability it gave to each true answer, [n].
    """
    names = list(likelihoods)
    p = np.stack([np.clip(likelihoods[name], 1e-12, None) for name in names], axis=1).astype(np.float64)
    beta = np.full(len(names), 1.0 / len(names))
    for _ in range(rounds):
        responsibility = p * beta
        responsibility /= responsibility.sum(1, keepdims=True)
        beta = responsibility.mean(0)
    beta[beta < 1e-3] = 0.0
    beta /= beta.sum()
    return {name: round(float(value), 6) for name, value in zip(names, beta, strict=True)}
