"""From the network's numbers to what the HTTP contract shows: plain dicts of labels and floats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.serving.explanations import Parts, explanation
from app.serving.rounding import DIGITS, rounded, significant
from app.serving.splitting import Row
from app.serving.types import Options
from model.calibration import Calibration
from model.config import Config, Task
from model.conformal import prediction_interval, prediction_set

DEFAULT_COVERAGE = 0.9  # of intervals, where the request names none
_BOUNDED = ("ordinal", "regression")  # kinds that come with an interval whether or not a coverage was asked for


def shape(
    row: Row,
    tasks: tuple[str, ...],
    modalities: tuple[str, ...],
    options: Options,
    config: Config,
    calibration: Calibration,
    relation: Mapping[str, Mapping[str, float]],
    parts: Mapping[str, Parts] | None = None,
) -> dict[str, dict[str, Any]]:
    """Every asked task's prediction, in the order of `tasks`.

    `modalities`: those present, in the bundle's order. `relation`: task -> other task -> R_kj, read where the options
    ask for an explanation; `parts`: of the modalities that were taken apart for it. A set or an interval is left out
    where the bundle holds no calibration for it, or too few samples to vouch for a bounded one.
    """
    predictions = {}
    coverage = options.coverage or DEFAULT_COVERAGE
    for name in tasks:
        task = config.tasks[name]
        wanted = options.coverage is not None or task.kind in _BOUNDED
        threshold = calibration.threshold(name, modalities, coverage) if wanted else None
        prediction = _SHAPES[task.kind](task, row.probabilities[name], threshold, options)
        if options.explain:
            prediction["explanation"] = explanation(
                row, name, modalities, config, calibration, relation[name], parts or {}
            )
        predictions[name] = prediction
    return predictions


def familiarity(
    row: Row, modalities: tuple[str, ...], config: Config, calibration: Calibration
) -> dict[str, float] | None:
    """How familiar each present input is, between 0 and 1; None for a bundle without.

    `modalities`: those present. One is left out where too few samples had it for its curve to be fitted.
    """
    if row.distance is None:
        return None
    curves = calibration.familiarity
    return {
        name: curves[name].share(distance)
        for name, distance in zip(config.modalities, row.distance.tolist(), strict=True)
        if name in modalities and name in curves
    }


def _multiclass(
    task: Task, probabilities: NDArray[np.floating], threshold: float | None, options: Options
) -> dict[str, Any]:
    order = (-probabilities).argsort(kind="stable")[: options.top_k]
    labels = task.labels
    top = [
        {"label": labels[index], "confidence": round(value, DIGITS)}
        for index, value in zip(order.tolist(), probabilities[order].tolist(), strict=True)
    ]
    prediction: dict[str, Any] = {"kind": "multiclass", **top[0], "top": top}
    if options.coverage is not None and threshold is not None:
        prediction["set"] = [labels[index] for index in prediction_set(probabilities, threshold)]
    return prediction


def _multilabel(
    task: Task, probabilities: NDArray[np.floating], threshold: float | None, options: Options
) -> dict[str, Any]:
    values = probabilities.tolist()
    return {
        "kind": "multilabel",
        "labels": [label for label, p in zip(task.labels, values, strict=True) if p >= 0.5],
        "confidences": {label: round(p, DIGITS) for label, p in zip(task.labels, values, strict=True)},
    }


def _binary(
    task: Task, probabilities: NDArray[np.floating], threshold: float | None, options: Options
) -> dict[str, Any]:
    positive = float(probabilities[0])
    return {
        "kind": "binary",
        "label": task.labels[positive >= 0.5],
        "confidence": rounded(max(positive, 1 - positive)),
    }


def _ordinal(
    task: Task, probabilities: NDArray[np.floating], threshold: float | None, options: Options
) -> dict[str, Any]:
    best = int(probabilities.argmax())
    prediction: dict[str, Any] = {
        "kind": "ordinal",
        "value": _number(task.labels[best]),
        "confidence": rounded(probabilities[best]),
    }
    if threshold is not None:
        prediction["interval"] = [_number(task.labels[end]) for end in prediction_interval(probabilities, threshold)]
    return prediction


def _regression(
    task: Task, probabilities: NDArray[np.floating], threshold: float | None, options: Options
) -> dict[str, Any]:
    value = float(probabilities[0])
    prediction: dict[str, Any] = {"kind": "regression", "value": significant(value)}
    if threshold is not None and np.isfinite(threshold):
        prediction["interval"] = [significant(value - threshold), significant(value + threshold)]
    return prediction


_SHAPES = {
    "multiclass": _multiclass,
    "multilabel": _multilabel,
    "binary": _binary,
    "ordinal": _ordinal,
    "regression": _regression,
}


def _number(label: str) -> int | float:
    value = float(label)
    return int(value) if value.is_integer() else value
