"""Reliability: whether what is answered with a confidence of p is right in p of the cases."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.config import Task
from model.metrics import FloatArray, decide

BINS = 15
_DIGITS = 6


def confidences(task: Task, answers: FloatArray, targets: NDArray[Any]) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Every confidence that is served, and whether what it was given for is true: two arrays of one length.

    multiclass, ordinal, binary: the confidence of the class that is answered, [n]; multilabel: that of each label,
    [n · C]. answers: [n, C]; targets: as `model.data.dataset.Split` has them, none missing. Raises ValueError for
    regression, which answers without a confidence.
    """
    if task.kind == "regression":
        raise ValueError("a regression task has no confidence")
    if task.kind == "multilabel":
        return answers.ravel(), (targets > 0.5).ravel()
    chosen = decide(task, answers)
    highest = np.maximum(answers[:, 0], 1 - answers[:, 0]) if task.kind == "binary" else answers.max(axis=1)
    return highest, np.asarray(chosen == targets)


def reliability(values: FloatArray, right: NDArray[np.bool_]) -> dict[str, Any]:
    """The expected calibration error, and the bins that a reliability curve is drawn from.

    {"ece": Σ_b n_b / n · |share right in b − mean confidence in b|, "chance": the ECE to be expected of these
    confidences if each were exactly right, since n rows are only so many, "bins": [[n_b, mean confidence, share right],
    ...]} over 15 bins of equal width, each with its upper edge; empty ones are left out. values: confidences in 0..1,
    [n]; right: [n]. Source: Guo et al., "On Calibration of Modern Neural Networks", 2017, after Naeini, Cooper and
    Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", 2015.
    """
    values = values.astype(np.float64)
    place = np.digitize(values, np.linspace(0, 1, BINS + 1)[1:-1], right=True)
    counts = np.bincount(place, minlength=BINS)
    confidence = np.bincount(place, values, minlength=BINS)
    correct = np.bincount(place, right, minlength=BINS)
    # The mean of |x| where x is normal: what is right in a bin varies by the sum of its p (1 − p).
    spread = np.sqrt(2 / np.pi * np.bincount(place, values * (1 - values), minlength=BINS))
    rows = max(1, len(values))
    return {
        "ece": float(np.abs(correct - confidence).sum() / rows),
        "chance": float(spread.sum() / rows),
        "bins": [
            [int(n), round(float(c / n), _DIGITS), round(float(r / n), _DIGITS)]
            for n, c, r in zip(counts, confidence, correct, strict=True)
            if n
        ],
    }
