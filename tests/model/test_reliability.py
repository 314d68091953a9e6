"""Reliability against calculations by hand, and on answers whose calibration is known."""

from __future__ import annotations

import numpy as np
import pytest

from model.config import Task
from model.reliability import BINS, confidences, reliability

MULTICLASS = Task(kind="multiclass", labels=("a", "b", "c"))


def test_a_case_by_hand() -> None:
    # Bins are 1/15 wide: .62 and .64 share one, .9 is alone, .99 and 1 share the last.
    values = np.array([0.62, 0.64, 0.9, 0.99, 1.0])
    right = np.array([True, False, False, True, True])
    result = reliability(values, right)
    assert result["bins"] == [[2, 0.63, 0.5], [1, 0.9, 0.0], [2, 0.995, 1.0]]
    assert result["ece"] == pytest.approx(2 / 5 * 0.13 + 1 / 5 * 0.9 + 2 / 5 * 0.005)


def test_a_bin_has_its_upper_edge() -> None:
    assert reliability(np.array([0.2, 0.200001]), np.array([True, True]))["bins"] == [[1, 0.2, 1.0], [1, 0.200001, 1.0]]
    assert reliability(np.array([0.0, 1.0]), np.array([False, True]))["bins"] == [[1, 0.0, 0.0], [1, 1.0, 1.0]]


def test_what_is_calibrated_has_no_error_and_what_is_too_sure_has_it() -> None:
    generator = np.random.default_rng(0)
    values = generator.uniform(0.3, 1.0, 200_000)
    right = generator.random(200_000) < values
    assert reliability(values, right)["ece"] < 0.005
    assert len(reliability(values, right)["bins"]) <= BINS
    # Everything said with 0.1 more than is true.
    assert reliability(np.clip(values + 0.1, 0, 1), right)["ece"] == pytest.approx(0.095, abs=0.01)
    # Errors in opposite directions do not make up for one another across bins.
    assert reliability(np.array([0.9, 0.5] * 50), np.array([False, True] * 50))["ece"] == pytest.approx(0.7)


def test_chance_is_the_error_of_confidences_that_are_exactly_right() -> None:
    generator = np.random.default_rng(1)
    values = generator.uniform(0.3, 1.0, 3000)
    drawn = [reliability(values, generator.random(3000) < values) for _ in range(100)]
    assert drawn[0]["chance"] == pytest.approx(np.mean([each["ece"] for each in drawn]), rel=0.05)
    assert reliability(np.ones(50), np.ones(50, dtype=bool))["chance"] == 0.0


def test_nothing_answered() -> None:
    assert reliability(np.zeros(0), np.zeros(0, dtype=bool)) == {"ece": 0.0, "chance": 0.0, "bins": []}


def test_a_class_is_given_with_its_own_probability() -> None:
    values, right = confidences(MULTICLASS, np.array([[0.2, 0.7, 0.1], [0.5, 0.3, 0.2]]), np.array([1, 2]))
    assert values.tolist() == [0.7, 0.5]
    assert right.tolist() == [True, False]


def test_a_binary_answer_is_given_with_that_of_the_side_that_it_is_on() -> None:
    task = Task(kind="binary", labels=("no", "yes"))
    values, right = confidences(task, np.array([[0.9], [0.2], [0.2]]), np.array([1, 0, 1]))
    assert values.tolist() == pytest.approx([0.9, 0.8, 0.8])
    assert right.tolist() == [True, True, False]


def test_every_label_of_a_multilabel_answer_counts_with_its_own() -> None:
    task = Task(kind="multilabel", separator="|", labels=("x", "y"))
    values, right = confidences(task, np.array([[0.9, 0.1], [0.6, 0.7]]), np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert values.tolist() == [0.9, 0.1, 0.6, 0.7]
    assert right.tolist() == [True, False, False, True], "whether the label is there, not whether 0.5 tells so"


def test_a_number_has_no_confidence() -> None:
    with pytest.raises(ValueError, match="regression"):
        confidences(Task(kind="regression"), np.ones((2, 1)), np.ones(2))
