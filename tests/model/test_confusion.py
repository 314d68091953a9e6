"""Confusion pairs: the mistakes alone, the most frequent first."""

from __future__ import annotations

import numpy as np
import pytest

from model.config import Task
from model.confusion import confusion_pairs

TASK = Task(kind="multiclass", labels=("a", "b", "c"))


def one_hot(classes: list[int]) -> np.ndarray:
    return np.eye(3)[classes]


def test_pairs_are_ordered_by_how_often_and_then_by_label() -> None:
    true = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2])
    predicted = one_hot([0, 2, 1, 2, 0, 1, 2, 0, 0])
    assert confusion_pairs(TASK, predicted, true) == [
        {"true": "a", "predicted": "c", "count": 2, "of": 4},
        {"true": "c", "predicted": "a", "count": 2, "of": 3},
        {"true": "a", "predicted": "b", "count": 1, "of": 4},
        {"true": "b", "predicted": "a", "count": 1, "of": 2},
    ]
    assert [pair["count"] for pair in confusion_pairs(TASK, predicted, true, most=3)] == [2, 2, 1]


def test_no_mistake_is_no_pair() -> None:
    assert confusion_pairs(TASK, one_hot([0, 1]), np.array([0, 1])) == []


def test_a_binary_task_has_two() -> None:
    task = Task(kind="binary", labels=("no", "yes"))
    pairs = confusion_pairs(task, np.array([[0.9], [0.8], [0.1], [0.7]]), np.array([0, 0, 1, 1]))
    assert [(pair["true"], pair["predicted"], pair["count"], pair["of"]) for pair in pairs] == [
        ("no", "yes", 2, 2),
        ("yes", "no", 1, 2),
    ]


def test_a_multilabel_task_confuses_sets_of_labels() -> None:
    task = Task(kind="multilabel", separator="|", labels=("x", "y"))
    answers = np.array([[0.9, 0.9], [0.8, 0.6], [0.1, 0.2], [0.9, 0.1]])
    pairs = confusion_pairs(task, answers, np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]))
    assert pairs == [
        {"true": "x", "predicted": "x, y", "count": 2, "of": 3},
        {"true": "y", "predicted": "", "count": 1, "of": 1},
    ]


def test_numbers_are_not_confused() -> None:
    with pytest.raises(ValueError, match="regression"):
        confusion_pairs(Task(kind="regression"), np.ones((2, 1)), np.ones(2))
