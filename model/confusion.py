"""Confusion pairs: which answer is most often given in the place of which."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.config import Task
from model.metrics import FloatArray, decide


def confusion_pairs(task: Task, answers: FloatArray, targets: NDArray[Any], most: int = 10) -> list[dict[str, Any]]:
    """The most frequent mistakes, each {"true", "predicted", "count", "of": rows that are truly so}, frequent first.

    Equally frequent ones stand in the order of the labels. A multilabel task's answer is all its labels together, so
    that its pairs are sets of labels; no label at all is "". answers: [n, C]; targets: as `Split` has them, none
    missing. Raises ValueError for regression, which has no classes.
    """
    if task.kind == "regression":
        raise ValueError("a regression task has no classes to confuse")
    chosen = decide(task, answers)
    true, predicted = (_codes(rows) for rows in (targets > 0.5 if task.kind == "multilabel" else targets, chosen))
    totals = Counter(true)
    pairs = Counter((t, p) for t, p in zip(true, predicted, strict=True) if t != p)
    return [
        {"true": _name(task, t), "predicted": _name(task, p), "count": count, "of": totals[t]}
        for (t, p), count in sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[:most]
    ]


def _codes(rows: NDArray[Any]) -> list[tuple[int, ...]]:
    """The classes of each row by number, from one a row [n] or from a mask [n, C]."""
    if rows.ndim == 1:
        return [(int(number),) for number in rows]
    return [tuple(np.flatnonzero(row).tolist()) for row in rows]


def _name(task: Task, classes: tuple[int, ...]) -> str:
    return ", ".join(task.labels[c] for c in classes)
