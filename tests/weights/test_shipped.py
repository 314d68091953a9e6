"""The shipped bundle is whole, small, and as good as its figures say."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.bundle import Bundle, load_bundle
from model.calibration import patterns_of
from model.golden import check_golden
from model.predictor import Predictor

FASHION = Path(__file__).resolve().parents[2] / "weights" / "fashion"

# TF-IDF and logistic regression on the whole title, accuracy on the test split; the network may lose a point to it.
TITLE_BASELINE = {
    "gender": 0.997,
    "masterCategory": 0.996,
    "subCategory": 0.991,
    "articleType": 0.953,
    "baseColour": 0.913,
    "season": 0.809,
    "usage": 0.944,
    "year": 0.837,
}
PHOTO_ALONE = {"articleType": 0.80, "baseColour": 0.63, "gender": 0.87}


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(FASHION)


def test_it_passes_its_golden_cases(bundle: Bundle) -> None:
    assert len(bundle.golden) == len(patterns_of(bundle.config))
    check_golden(bundle, Predictor(bundle))


def test_it_is_at_most_25_megabytes() -> None:
    assert sum(file.stat().st_size for file in FASHION.iterdir()) <= 25_000_000


def test_it_answers_the_nine_tasks_from_photo_and_text(bundle: Bundle) -> None:
    assert list(bundle.config.modalities) == ["image", "text"]
    kinds = {name: task.kind for name, task in bundle.config.tasks.items()}
    assert kinds == {
        **dict.fromkeys(
            ["gender", "masterCategory", "subCategory", "articleType", "baseColour", "season", "usage"], "multiclass"
        ),
        "year": "ordinal",
        "audience": "multilabel",
    }


@pytest.mark.parametrize("task", TITLE_BASELINE)
def test_photo_and_title_are_within_a_point_of_the_title_baseline(bundle: Bundle, task: str) -> None:
    assert bundle.report is not None
    assert bundle.report["split"] == "test"
    assert bundle.report["results"]["image + text"][task]["accuracy"] >= TITLE_BASELINE[task] - 0.01


@pytest.mark.parametrize("task", PHOTO_ALONE)
def test_a_photo_alone_is_enough(bundle: Bundle, task: str) -> None:
    assert bundle.report is not None
    assert bundle.report["results"]["image"][task]["accuracy"] >= PHOTO_ALONE[task]
