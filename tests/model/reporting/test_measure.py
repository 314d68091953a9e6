"""What is measured on answers: every part for the tasks that it goes with, over the rows that have a label."""

from __future__ import annotations

import numpy as np
import pytest

from model.bundle import Bundle, load_bundle
from model.calibration import uncalibrated
from model.metrics import labelled_rows
from model.reporting.measure import measurements
from model.setups import answers_of
from tests.model.reporting.made import ROWS, labels_of, setups_of
from tests.support.tiny import make_tiny_bundle, tiny_config


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny"))


def test_every_part_has_the_tasks_that_it_goes_with(bundle: Bundle) -> None:
    parts = measurements(bundle.config, bundle.calibration, setups_of(bundle.config), labels_of(bundle.config))
    for found in parts.values():
        assert list(found) == ["image + text", "image", "text"]
    for setup in ("image + text", "image", "text"):
        assert set(parts["results"][setup]) == {"colour", "audience", "sporty", "price", "year"}
        assert set(parts["reliability"][setup]) == set(parts["confusions"][setup]) == {
            "colour", "audience", "sporty", "year"
        }  # fmt: skip
        assert set(parts["coverage"][setup]) == {"colour", "price", "year"}
        assert {task for task, result in parts["results"][setup].items() if "ece" in result} == set(
            parts["reliability"][setup]
        )
        for task in ("colour", "year", "price"):
            assert set(parts["coverage"][setup][task]) == {"0.8", "0.9", "0.95"}


def test_rows_without_a_label_count_nowhere(bundle: Bundle) -> None:
    parts = measurements(bundle.config, bundle.calibration, setups_of(bundle.config), labels_of(bundle.config))
    for setup, tasks in parts["reliability"].items():
        assert sum(count for count, _, _ in tasks["colour"]) == parts["results"][setup]["colour"]["count"] == ROWS - 1
        assert sum(count for count, _, _ in tasks["audience"]) == 3 * (ROWS - 1), "a label is an answer of its own"


def test_the_threshold_is_that_of_the_pattern_and_of_what_is_asked(bundle: Bundle) -> None:
    """A threshold of t covers the true classes that have a probability of 1 − t and more."""
    setups, labels = setups_of(bundle.config), labels_of(bundle.config)
    calibration = bundle.calibration.model_copy(deep=True)
    thresholds = calibration.patterns["text"]["colour"].thresholds
    calibration.patterns["text"]["colour"].thresholds = [0.31] * len(thresholds)
    parts = measurements(bundle.config, calibration, setups, labels)
    rows = labelled_rows(bundle.config.tasks["colour"], labels["colour"])
    for setup, asked, threshold in (("text", "0.9", 0.31), ("image", "0.9", 0.9), ("image", "0.8", 0.8)):
        answers = answers_of(bundle.config, calibration, setups[setup])["colour"][rows]
        truth = labels["colour"][rows]
        held = (answers[np.arange(len(truth)), truth] >= 1 - threshold) | (answers.argmax(axis=1) == truth)
        assert parts["coverage"][setup]["colour"][asked]["covered"] == pytest.approx(held.mean())


def test_without_thresholds_there_is_no_coverage(bundle: Bundle) -> None:
    calibration = uncalibrated(bundle.config)
    parts = measurements(bundle.config, calibration, setups_of(bundle.config), labels_of(bundle.config))
    assert parts["coverage"] == {"image + text": {}, "image": {}, "text": {}}


def test_a_pattern_that_no_row_has_is_not_there(bundle: Bundle) -> None:
    setups = setups_of(bundle.config)
    del setups["image"]
    parts = measurements(bundle.config, bundle.calibration, setups, labels_of(bundle.config))
    assert all(set(found) == {"image + text", "text"} for found in parts.values())


def test_a_task_that_no_row_has_a_label_of_counts_none() -> None:
    config = tiny_config()
    labels = labels_of(config)
    labels["colour"][:] = -1
    parts = measurements(config, uncalibrated(config), setups_of(config), labels)
    assert parts["results"]["image"]["colour"] == {"count": 0}
    assert "colour" not in parts["reliability"]["image"]
    assert "year" in parts["reliability"]["image"]
