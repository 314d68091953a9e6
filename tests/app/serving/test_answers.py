"""Numbers become the shapes of the HTTP contract."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from app.serving.answers import shape
from app.serving.splitting import Row
from app.serving.types import Options
from model.calibration import COVERAGES, Calibration, uncalibrated
from tests.support.tiny import tiny_config

CONFIG = tiny_config()
BOTH = ("image", "text")
PROBABILITIES = {
    "colour": [0.2, 0.7, 0.1],
    "audience": [0.1, 0.5, 0.900000004],
    "sporty": [0.25],
    "price": [19.987654],
    "year": [0.05, 0.15, 0.6, 0.2],
}


def calibrated(threshold: float | None) -> Calibration:
    """Every coverage has the same threshold; None for one that covers everything."""
    calibration = uncalibrated(CONFIG)
    for tasks in calibration.patterns.values():
        for name in ("colour", "price", "year"):
            tasks[name].thresholds = [threshold] * len(COVERAGES)
    return calibration


def answer(
    options: Options | None = None,
    calibration: Calibration | None = None,
    modalities: tuple[str, ...] = BOTH,
    **changed: list[float],
) -> dict[str, dict[str, Any]]:
    probabilities = {k: np.array(v, dtype=np.float32) for k, v in {**PROBABILITIES, **changed}.items()}
    relation = {task: {"colour": 0.25, "year": 0.75} if task == "price" else {} for task in CONFIG.tasks}
    row = Row(probabilities, np.array([0.4, 0.6], dtype=np.float32))
    tasks = tuple(CONFIG.tasks)
    predictions = shape(
        row, tasks, modalities, options or Options(), CONFIG, calibration or uncalibrated(CONFIG), relation
    )
    assert list(predictions) == list(tasks)
    assert json.loads(json.dumps(predictions, allow_nan=False)) == predictions, "plain JSON values only"
    return predictions


def test_every_kind_has_its_shape() -> None:
    assert answer() == {
        "colour": {
            "kind": "multiclass",
            "label": "green",
            "confidence": 0.7,
            "top": [
                {"label": "green", "confidence": 0.7},
                {"label": "blue", "confidence": 0.2},
                {"label": "red", "confidence": 0.1},
            ],
        },
        "audience": {
            "kind": "multilabel",
            "labels": ["men", "women"],
            "confidences": {"kids": 0.1, "men": 0.5, "women": 0.9},
        },
        "sporty": {"kind": "binary", "label": "no", "confidence": 0.75},
        "price": {"kind": "regression", "value": 19.98765},
        "year": {"kind": "ordinal", "value": 2012, "confidence": 0.6},
    }


def test_top_k_bounds_the_list() -> None:
    assert [entry["label"] for entry in answer(Options(top_k=1))["colour"]["top"]] == ["green"]
    assert len(answer(Options(top_k=100))["colour"]["top"]) == 3


def test_a_tie_goes_to_the_first_label() -> None:
    assert answer(colour=[0.4, 0.4, 0.2])["colour"]["label"] == "blue"


@pytest.mark.parametrize(("positive", "label", "confidence"), [(0.5, "yes", 0.5), (0.9, "yes", 0.9), (0.1, "no", 0.9)])
def test_binary_confidence_is_that_of_the_label(positive: float, label: str, confidence: float) -> None:
    assert answer(sporty=[positive])["sporty"] == {"kind": "binary", "label": label, "confidence": confidence}


def test_intervals_come_by_default_and_sets_when_asked_for() -> None:
    plain = answer(calibration=calibrated(0.7))
    assert "set" not in plain["colour"]
    assert plain["year"]["interval"] == [2012, 2013]
    assert plain["price"]["interval"] == pytest.approx([19.287654, 20.687654])
    assert answer(Options(coverage=0.5), calibrated(0.7))["colour"]["set"] == ["green"]
    assert answer(Options(coverage=0.5), calibrated(0.8))["colour"]["set"] == ["green", "blue"]


def test_coverage_chooses_the_threshold() -> None:
    calibration = calibrated(0.7)
    for task in calibration.patterns["image+text"].values():
        if task.thresholds:
            task.thresholds = list(COVERAGES)
    narrow, default, wide = (answer(Options(coverage=c), calibration) for c in (0.5, None, 0.99))
    assert narrow["price"]["interval"] == pytest.approx([19.987654 - 0.5, 19.987654 + 0.5])
    assert default["price"]["interval"] == pytest.approx([19.987654 - 0.9, 19.987654 + 0.9])
    assert wide["price"]["interval"] == pytest.approx([19.987654 - 0.99, 19.987654 + 0.99])
    other = answer(Options(coverage=0.5), calibration, ("text",))
    assert other["price"]["interval"] == pytest.approx([19.287654, 20.687654]), "calibrated for each pattern"


def test_a_threshold_that_covers_everything_bounds_nothing() -> None:
    predictions = answer(Options(coverage=0.9), calibrated(None))
    assert predictions["year"]["interval"] == [2010, 2013]
    assert set(predictions["colour"]["set"]) == {"blue", "green", "red"}
    assert "interval" not in predictions["price"]


def test_ordinal_values_are_whole_where_they_can_be() -> None:
    document = {"kind": "ordinal", "labels": ("0.5", "1", "1.5")}
    config = tiny_config(tasks={"size": document})
    calibration = uncalibrated(config)
    for best, expected in enumerate((0.5, 1, 1.5)):
        row = Row({"size": np.eye(3, dtype=np.float32)[best]}, np.ones(2))
        value = shape(row, ("size",), BOTH, Options(), config, calibration, {})["size"]["value"]
        assert (value, type(value)) == (expected, type(expected))


def test_an_explanation_names_what_took_part() -> None:
    predictions = answer(Options(explain=True))
    assert predictions["price"]["explanation"] == {
        "alpha": {"image": 0.4, "text": 0.6},
        "beta": {"fused": 1.0, "image": 0.0, "text": 0.0},
        "relation": {"colour": 0.25, "year": 0.75},
    }
    assert all("explanation" in prediction for prediction in predictions.values())
    alone = answer(Options(explain=True), modalities=("text",))["price"]["explanation"]
    assert set(alone["alpha"]) == {"text"}
    assert set(alone["beta"]) == {"fused", "text"}
