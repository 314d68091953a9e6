"""Metrics of a task's answers against its labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score  # type: ignore[import-untyped]

from model.config import Task

FloatArray = NDArray[np.floating]


def labelled_rows(task: Task, targets: NDArray[Any]) -> NDArray[np.bool_]:
    """Which rows have a label, bool [n]; targets as `model.data.dataset.Split` has them."""
    if task.kind == "multilabel":
        return np.asarray(~np.isnan(targets).any(axis=1))
    if task.kind == "regression":
        return np.asarray(~np.isnan(targets))
    return np.asarray(targets >= 0)


def decide(task: Task, answers: FloatArray) -> NDArray[Any]:
    """What is answered to [n, C]: class indexes int64 [n]; multilabel: whether each label is given, bool [n, C]."""
    if task.kind == "multilabel":
        return answers >= 0.5
    if task.kind == "binary":
        return (answers[:, 0] >= 0.5).astype(np.int64)
    return np.asarray(answers.argmax(axis=1))


def measure(task: Task, answers: FloatArray, targets: NDArray[Any]) -> dict[str, Any]:
    """Metrics over the labelled rows; {"count": 0} when there is none.

    multiclass, binary: accuracy and macro-F1; ordinal: besides these the mean absolute error in the unit of the labels
    when they are numbers; multilabel: exact-match accuracy and macro-F1 over labels; regression: mean absolute error
    and R². answers: [n, C]; targets: as `Split` has them.
    """
    rows = labelled_rows(task, targets)
    answers, targets = answers[rows], targets[rows]
    result: dict[str, Any] = {"count": len(targets)}
    if not len(targets):
        return result
    if task.kind == "regression":
        error = answers[:, 0] - targets
        spread = float(np.square(targets - targets.mean()).sum())
        result["mae"] = float(np.abs(error).mean())
        result["r2"] = 1.0 - float(np.square(error).sum()) / spread if spread else 0.0
        return result
    if task.kind == "multilabel":
        chosen = decide(task, answers)
        result["accuracy"] = float((chosen == (targets > 0.5)).all(axis=1).mean())
        # A label at a time: for a task with one label, the library would average over its two values instead.
        scores = [f1_score(targets[:, c] > 0.5, chosen[:, c], zero_division=0) for c in range(chosen.shape[1])]
        result["macro_f1"] = float(np.mean(scores))
        return result
    chosen_class = decide(task, answers)
    result["accuracy"] = float((chosen_class == targets).mean())
    # Over the classes that occur in the truth: a class that the split lacks cannot be found in it.
    result["macro_f1"] = float(
        f1_score(targets, chosen_class, labels=np.unique(targets), average="macro", zero_division=0)
    )
    if task.kind == "ordinal":
        values = np.array([float(label) for label in task.labels])
        result["mae"] = float(np.abs(values[chosen_class] - values[targets.astype(np.int64)]).mean())
    return result


def score(task: Task, metrics: dict[str, Any]) -> float:
    """One number a task for early stopping, higher is better: accuracy, or R² for regression; 0 without labels."""
    return float(metrics.get("accuracy", metrics.get("r2", 0.0)))
