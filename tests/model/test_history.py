"""The history of a training, as it comes from a run and goes into a bundle and out of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from model.bundle import HISTORY, BundleError, add_files, load_bundle
from model.history import Epoch, from_json, to_json
from model.training.bundling import epochs_of
from tests.support.tiny import make_tiny_bundle, tiny_config


def record(**changes: Any) -> dict[str, Any]:
    metrics = {
        "colour": {"count": 9, "accuracy": 0.123456, "macro_f1": 0.1},
        "audience": {"count": 9, "accuracy": 0.5, "macro_f1": 0.1},
        "sporty": {"count": 0},
        "price": {"count": 9, "mae": 3.0, "r2": -0.25},
        "year": {"count": 9, "accuracy": 0.75, "macro_f1": 0.1, "mae": 1.0},
    }
    return {
        "epoch": 1,
        "loss": 0.5,
        "score": 0.4,
        "seconds": 90.0,
        "progress": 1.0,
        "metrics": {"image": metrics},
    } | changes


def test_a_record_keeps_one_score_a_task() -> None:
    (epoch,) = epochs_of([record()], tiny_config().tasks)
    assert (epoch.epoch, epoch.loss, epoch.score, epoch.minutes) == (1, 0.5, 0.4, 1.5)
    assert epoch.validation == {
        "image": {"colour": 0.1235, "audience": 0.5, "sporty": None, "price": -0.25, "year": 0.75}
    }, "R² for regression, nothing where nothing was labelled"


def test_a_loss_that_is_no_number_is_none_in_json() -> None:
    epochs = epochs_of([record(loss=float("nan"))], tiny_config().tasks)
    assert json.loads(to_json(epochs))[0]["loss"] is None, "NaN is not JSON"
    assert from_json(to_json(epochs)) == epochs


def test_what_is_no_history_is_refused() -> None:
    with pytest.raises(ValidationError):
        from_json(b'[{"epoch": 1}]')


def test_a_bundle_keeps_it_and_is_the_same_bundle_for_it(tmp_path: Path) -> None:
    folder = make_tiny_bundle(tmp_path / "tiny")
    before = load_bundle(folder)
    assert before.history == []
    epoch = Epoch(epoch=1, loss=0.5, score=0.4, minutes=1.5, validation={"image": {"colour": 0.5}})
    add_files(folder, {HISTORY: to_json([epoch])})
    after = load_bundle(folder)
    assert after.history == [epoch]
    assert after.digest == before.digest
    add_files(folder, {HISTORY: b'[{"epoch": "one"}]'})
    with pytest.raises(BundleError, match=HISTORY):
        load_bundle(folder)
