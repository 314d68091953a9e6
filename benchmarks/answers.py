"""Whether servers answer alike: the labels of each upload, out of answers of different shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def labels(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Task -> its label, its set of labels, or its value."""
    found: dict[str, Any] = {}
    for task, prediction in answer["predictions"].items():
        if "labels" in prediction:
            found[task] = frozenset(prediction["labels"])
        else:
            label = prediction.get("label", prediction.get("value"))
            # An ordinal label is a number in one answer and its name in another.
            found[task] = _number(label)
    return found


def agreement(expected: Mapping[int, Mapping[str, Any]], found: Mapping[int, Mapping[str, Any]]) -> float:
    """The share of labels that are the same, over the uploads and tasks of `expected`."""
    same = [found[upload].get(task) == label for upload, tasks in expected.items() for task, label in tasks.items()]
    return round(sum(same) / len(same), 4)


def _number(label: Any) -> Any:
    try:
        return float(label)
    except ValueError:
        return label
