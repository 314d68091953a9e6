"""Measured coverage: how often the sets and intervals that are served hold the truth, and how large they are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.config import Task
from model.conformal import prediction_interval
from model.metrics import FloatArray

ASKED = (0.8, 0.9, 0.95)
KINDS = ("multiclass", "ordinal", "regression")  # those that are served with sets or intervals


def measure_coverage(
    task: Task, answers: FloatArray, targets: NDArray[Any], threshold: float
) -> dict[str, float] | None:
    """The share of truths within what `threshold` gives, and its mean size; None where nothing bounded is served.

    {"covered": share, "size": mean number of classes} for sets; for intervals {"covered", "width"}: the mean distance
    of their ends, in the unit of the labels. answers: [n, C]; targets: as `Split` has them, none missing; n > 0.
    """
    if task.kind == "regression":
        if not math.isfinite(threshold):
            return None
        return {
            "covered": float((np.abs(answers[:, 0] - targets) <= threshold).mean()),
            "width": 2 * threshold,
        }
    truth = targets.astype(np.int64)
    if task.kind == "ordinal":
        ends = np.array([prediction_interval(row, threshold) for row in answers])
        values = np.array([float(label) for label in task.labels])
        return {
            "covered": float(((ends[:, 0] <= truth) & (truth <= ends[:, 1])).mean()),
            "width": float((values[ends[:, 1]] - values[ends[:, 0]]).mean()),
        }
    # `prediction_set` for all rows at once.
    within = 1.0 - answers <= threshold + 1e-9
    within[np.arange(len(answers)), answers.argmax(axis=1)] = True
    return {"covered": float(within[np.arange(len(truth)), truth].mean()), "size": float(within.sum(axis=1).mean())}
