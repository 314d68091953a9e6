"""Measured coverage by hand, and against the sets and intervals that the service makes."""

from __future__ import annotations

import numpy as np
import pytest

from model.calibration import COVERAGES, fit_thresholds
from model.config import Task
from model.conformal import prediction_set
from model.coverage import measure_coverage

MULTICLASS = Task(kind="multiclass", labels=("a", "b", "c"))


def test_sets_by_hand() -> None:
    answers = np.array([[0.6, 0.4, 0.0], [0.5, 0.3, 0.2], [0.9, 0.05, 0.05], [0.4, 0.3, 0.3]])
    # Within 0.65 is what has a probability of 0.35 and more: {a, b}, {a}, {a}, {a}.
    result = measure_coverage(MULTICLASS, answers, np.array([1, 1, 0, 0]), 0.65)
    assert result == {"covered": 0.75, "size": 1.25}


def test_a_set_holds_the_most_probable_class_even_where_no_class_is_within() -> None:
    answers = np.array([[0.4, 0.3, 0.3], [0.4, 0.3, 0.3]])
    assert measure_coverage(MULTICLASS, answers, np.array([0, 1]), 0.1) == {"covered": 0.5, "size": 1.0}


def test_without_a_bound_every_class_is_in() -> None:
    result = measure_coverage(MULTICLASS, np.full((2, 3), 1 / 3), np.array([0, 2]), float("inf"))
    assert result == {"covered": 1.0, "size": 3.0}


@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.7, 0.95, 0.999])
def test_sets_are_those_that_the_service_makes(threshold: float) -> None:
    generator = np.random.default_rng(1)
    answers = generator.dirichlet([0.3] * 3, 300).astype(np.float32)
    targets = generator.integers(0, 3, 300)
    sets = [prediction_set(row, threshold) for row in answers]
    assert measure_coverage(MULTICLASS, answers, targets, threshold) == {
        "covered": pytest.approx(np.mean([t in s for t, s in zip(targets, sets, strict=True)])),
        "size": pytest.approx(np.mean([len(s) for s in sets])),
    }


def test_ordinal_intervals_are_as_wide_as_their_labels_are_apart() -> None:
    task = Task(kind="ordinal", labels=("2010", "2012", "2020"))
    answers = np.array([[0.1, 0.6, 0.3], [0.97, 0.02, 0.01]])
    # Within 0.6: the first grows from 2012 to 2020, the second stays 2010.
    assert measure_coverage(task, answers, np.array([2, 1]), 0.6) == {"covered": 0.5, "width": 4.0}


def test_regression_intervals() -> None:
    task = Task(kind="regression")
    answers = np.array([[1.0], [2.0], [3.0], [4.0]])
    result = measure_coverage(task, answers, np.array([1.5, 2.0, 5.0, 3.5]), 0.5)
    assert result == {"covered": 0.75, "width": 1.0}
    assert measure_coverage(task, answers, np.zeros(4), float("inf")) is None, "the service gives no such interval"


def test_what_is_fitted_on_some_rows_covers_others_as_often_as_was_asked() -> None:
    generator = np.random.default_rng(2)
    answers = generator.dirichlet([0.6] * 3, 8000)
    targets = np.array([generator.choice(3, p=row) for row in answers])
    thresholds = fit_thresholds(MULTICLASS, answers[:4000], targets[:4000])
    for asked in (0.8, 0.9, 0.95):
        threshold = thresholds[COVERAGES.index(asked)]
        assert threshold is not None
        result = measure_coverage(MULTICLASS, answers[4000:], targets[4000:], threshold)
        assert result is not None
        assert result["covered"] == pytest.approx(asked, abs=0.015)
