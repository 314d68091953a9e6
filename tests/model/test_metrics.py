"""Metrics against calculations by hand."""

from __future__ import annotations

import numpy as np
import pytest

from model.config import Task
from model.metrics import labelled_rows, measure, score


def one_hot(classes: list[int], count: int) -> np.ndarray:
    return np.eye(count)[classes]


def test_multiclass() -> None:
    task = Task(kind="multiclass", labels=("a", "b", "c"))
    result = measure(task, one_hot([0, 0, 1, 2, 1], 3), np.array([0, 0, 0, 1, -1]))
    # a: 2 of 2 found are right, 2 of 3 are found; b: none; c does not occur in the truth.
    assert result == {"count": 4, "accuracy": 0.5, "macro_f1": pytest.approx((0.8 + 0) / 2)}


def test_binary() -> None:
    task = Task(kind="binary", labels=("no", "yes"))
    result = measure(task, np.array([[0.9], [0.5], [0.2], [0.1]]), np.array([1, 0, 1, 0]))
    assert result["accuracy"] == 0.5
    assert result["macro_f1"] == pytest.approx(0.5)


def test_ordinal_error_is_in_the_unit_of_the_labels() -> None:
    task = Task(kind="ordinal", labels=("2010", "2012", "2020"))
    result = measure(task, one_hot([0, 2, 1], 3), np.array([0, 0, 2]))
    assert result["mae"] == pytest.approx((0 + 10 + 8) / 3)
    assert result["accuracy"] == pytest.approx(1 / 3)


def test_multilabel() -> None:
    task = Task(kind="multilabel", separator="|", labels=("x", "y"))
    answers = np.array([[0.9, 0.1], [0.9, 0.9], [0.1, 0.6], [0.2, 0.2]])
    targets = np.array([[1, 0], [1, 0], [0, 1], [np.nan, np.nan]])
    result = measure(task, answers, targets)
    # x: both found, none too many: 1; y: 1 found, 1 too many: 2 / 3.
    assert result == {"count": 3, "accuracy": pytest.approx(2 / 3), "macro_f1": pytest.approx((1 + 2 / 3) / 2)}


def test_multilabel_with_one_label() -> None:
    task = Task(kind="multilabel", separator="|", labels=("x",))
    result = measure(task, np.array([[0.9], [0.9], [0.1], [0.1]]), np.array([[1.0], [0.0], [0.0], [0.0]]))
    assert result["macro_f1"] == pytest.approx(2 / 3), "of the label, not of its absence too"


def test_regression() -> None:
    task = Task(kind="regression")
    result = measure(task, np.array([[1.0], [2.0], [6.0]]), np.array([1.0, 3.0, 5.0]))
    assert result == {"count": 3, "mae": pytest.approx(2 / 3), "r2": pytest.approx(1 - 2 / 8)}
    assert measure(task, np.ones((2, 1)), np.ones(2))["r2"] == 0.0


def test_nothing_labelled() -> None:
    task = Task(kind="multiclass", labels=("a", "b"))
    result = measure(task, np.zeros((2, 2)), np.array([-1, -1]))
    assert result == {"count": 0}
    assert score(task, result) == 0.0


def test_labelled_rows() -> None:
    assert labelled_rows(Task(kind="binary"), np.array([-1, 0, 1])).tolist() == [False, True, True]
    assert labelled_rows(Task(kind="regression"), np.array([np.nan, 0.0])).tolist() == [False, True]
    many = Task(kind="multilabel", separator="|")
    assert labelled_rows(many, np.array([[np.nan, 1.0], [0.0, 0.0]])).tolist() == [False, True]


def test_score_is_better_when_higher() -> None:
    assert score(Task(kind="multiclass"), {"accuracy": 0.7, "macro_f1": 0.1}) == 0.7
    assert score(Task(kind="regression"), {"mae": 3.0, "r2": 0.4}) == 0.4
