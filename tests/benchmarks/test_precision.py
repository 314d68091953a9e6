"""The figures of precision: what counts as the same label, how far answers moved, which task is worst."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.precision import answer, compare, items_of, labels_of, table
from model.bundle import load_bundle
from model.config import Task
from model.data.dataset import Split
from model.predictor import Predictor
from tests.support.tiny import make_tiny_bundle


def figures(accuracy: float, same: float = 1.0, moved: float = 0.0) -> dict[str, float]:
    return {"rows": 10, "accuracy": accuracy, "same": same, "moved_p99": moved / 2, "moved_most": moved}


def test_the_worst_task_is_named_in_points_from_torch() -> None:
    results = {
        "image": {
            "torch fp32": {"ms_per_item": 3.0, "tasks": {"a": figures(0.9), "b": figures(0.5)}},
            "other": {"ms_per_item": 1.5, "tasks": {"a": figures(0.901, 0.99, 0.2), "b": figures(0.48, 0.97, 0.1)}},
        }
    }
    *_, first, last = table(results)
    assert first == "| image | torch fp32 | 3.00 | +0.00 (a) | 100.00 % | 0 | 0 |"
    assert last == "| image | other | 1.50 | -2.00 (b) | 97.00 % | 0.1 | 0.2 |"


def test_labels_are_classes_or_each_labels_yes_or_no() -> None:
    answers = np.array([[0.2, 0.8], [0.6, 0.4]])
    assert labels_of(Task(kind="multiclass", labels=("x", "y")), answers).tolist() == [1, 0]
    several = Task(kind="multilabel", labels=("x", "y"), separator="|")
    assert labels_of(several, answers).tolist() == [[False, True], [True, False]]


def test_a_row_without_a_label_counts_as_moved_but_not_as_right_or_wrong() -> None:
    task = Task(kind="multiclass", labels=("x", "y"))
    reference = np.array([[0.9, 0.1], [0.4, 0.6], [0.6, 0.4]])
    found = np.array([[0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    assert compare(task, found, reference, np.array([0, 1, -1])) == {
        "rows": 2,
        "accuracy": 0.5,
        "same": pytest.approx(2 / 3),
        "moved_p99": pytest.approx(0.3, abs=0.01),
        "moved_most": pytest.approx(0.3),
    }


def test_answers_come_back_in_the_order_of_the_rows(tmp_path: Path) -> None:
    bundle = load_bundle(make_tiny_bundle(tmp_path / "tiny"))
    generator = np.random.default_rng(0)
    present = np.array([[True, True], [True, False], [False, True], [True, True], [True, True]])
    split = Split(
        ids=list("abcde"),
        images={"image": generator.integers(0, 256, (5, 16, 12, 3), dtype=np.uint8)},
        texts={"text": ["red shirt for men", "", "bag", "blue", "green leather shoe for women and kids"]},
        present=present,
        labels={},
    )
    rows, items = items_of(bundle, split, ("image", "text"))
    assert rows.tolist() == [0, 3, 4]
    predictor = Predictor(bundle)

    class Plain:
        def start(self, items, tasks=None):  # type: ignore[no-untyped-def]
            class Done:
                def result(self):  # type: ignore[no-untyped-def]
                    return predictor(items, tasks)

            return Done()

    outputs, seconds = answer(Plain(), items, batch=2)  # type: ignore[arg-type]
    assert seconds > 0
    for position, item in enumerate(items):
        alone = predictor([item])
        for task, values in outputs.probabilities.items():
            np.testing.assert_allclose(values[position], alone.probabilities[task][0], atol=1e-4, err_msg=task)
    assert [list(item) for item in items_of(bundle, split, ("text",))[1]] == [["text"]] * 4
