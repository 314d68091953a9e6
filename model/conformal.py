"""Split conformal prediction: sets and intervals that hold the truth as often as was asked.

Sets score a class by 1 − its probability (Sadinle, Lei and Wasserman, "Least Ambiguous Set-Valued Classifiers with
Bounded Error Levels", 2019). Ordinal intervals grow from the most probable class towards the likelier neighbour and
score a class by the probability gathered when it comes in. Regression scores by the absolute error.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.config import TaskKind

FloatArray = NDArray[np.floating]


def prediction_set(probabilities: FloatArray, threshold: float) -> list[int]:
    """Class indexes whose score is within the threshold, most probable first; never empty. probabilities: [C]."""
    order = np.argsort(-probabilities, kind="stable")
    chosen = [int(c) for c in order if 1.0 - probabilities[c] <= threshold + 1e-9]
    return chosen or [int(order[0])]


def prediction_interval(probabilities: FloatArray, threshold: float) -> tuple[int, int]:
    """First and last class index of the interval whose score is within the threshold. probabilities: [C]."""
    low = high = 0
    for low_next, high_next, mass in _grow(probabilities):
        if mass > threshold + 1e-9:
            break
        low, high = low_next, high_next
    return low, high


def _grow(probabilities: FloatArray) -> Iterator[tuple[int, int, float]]:
    """Every interval on the way from the most probable class to all classes, with the mass *before* it grew to it."""
    values: list[float] = probabilities.tolist()
    last = len(values) - 1
    low = high = int(probabilities.argmax())
    mass = values[low]
    # The first interval scores 0: the most probable class is always in.
    yield low, high, 0.0
    while low > 0 or high < last:
        before = mass
        left = values[low - 1] if low > 0 else -1.0
        right = values[high + 1] if high < last else -1.0
        if low > 0 and (left >= right or high == last):
            low -= 1
            mass += left
        else:
            high += 1
            mass += right
        yield low, high, before


def scores(kind: TaskKind, probabilities: FloatArray, targets: NDArray[Any]) -> FloatArray:
    """Nonconformity of the true answers: [n]. probabilities: [n, C]; targets: class indexes or values, [n].

    Raises ValueError for a kind that has neither sets nor intervals.
    """
    if kind == "regression":
        return np.asarray(np.abs(probabilities[:, 0] - targets), dtype=np.float64)
    if kind == "multiclass":
        return np.asarray(1.0 - probabilities[np.arange(len(targets)), targets.astype(np.int64)], dtype=np.float64)
    if kind == "ordinal":
        result = np.empty(len(targets))
        for row, target in enumerate(targets.astype(np.int64)):
            result[row] = next(mass for low, high, mass in _grow(probabilities[row]) if low <= target <= high)
        return result
    raise ValueError(f"no conformal score for kind {kind}")


def quantile(values: FloatArray, coverage: float) -> float:
    """The threshold that new scores stay within with probability `coverage`, corrected for the finite sample."""
    count = len(values)
    rank = int(np.ceil((count + 1) * coverage))
    if rank > count:
        return float("inf")
    return float(np.sort(values)[rank - 1])
