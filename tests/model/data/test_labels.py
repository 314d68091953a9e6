"""Classes learnt from the training rows, and what every value of a column becomes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from model.config import Task
from model.data import DataError, Faults
from model.data.labels import encode_task, learn_task
from model.data.table import Row


def _rows(*values: str) -> list[Row]:
    return [Row(line, f"id{line}", {"x": value}) for line, value in enumerate(values, start=2)]


def _learn(kind: str, *values: str, **fields: Any) -> tuple[Task, Faults]:
    faults = Faults()
    return learn_task("x", Task(kind=kind, **fields), _rows(*values), faults), faults


def test_classes_are_sorted_and_indexed() -> None:
    task, faults = _learn("multiclass", "b", "a", "b", " a ", "c", "c")
    assert task.labels == ("a", "b", "c")
    assert not faults
    encoded = encode_task("x", task, _rows("c", "a", " b"), faults)
    assert encoded.dtype == np.int64
    assert encoded.tolist() == [2, 0, 1]


def test_ordinal_classes_are_sorted_by_value_and_spellings_of_a_number_are_one_class() -> None:
    task, faults = _learn("ordinal", "10", "9", "10.0", "9", "-1.5", "-1.5")
    assert task.labels == ("-1.5", "9", "10")
    assert encode_task("x", task, _rows("9.0", "1e1", "-1.50"), faults).tolist() == [1, 2, 0]
    assert not faults


def test_binary_classes_are_negative_then_positive() -> None:
    task, _ = _learn("binary", "yes", "no", "no", "yes")
    assert task.labels == ("no", "yes")
    given, _ = _learn("binary", "up", "down", "down", "up", labels=("up", "down"))
    assert given.labels == ("up", "down")


def test_multilabel_by_map_keeps_the_order_of_the_map() -> None:
    values = {"Unisex": ("women", "men"), "Boys": ("men", "kids"), "Plain": ()}
    task, faults = _learn("multilabel", "Unisex", "Boys", "Boys", "Unisex", map=values)
    assert task.labels == ("women", "men", "kids")
    encoded = encode_task("x", task, _rows("Boys", "Plain", "Dogs", ""), faults)
    assert encoded.dtype == np.float32
    np.testing.assert_array_equal(encoded, [[0, 1, 1], [0, 0, 0], [np.nan] * 3, [np.nan] * 3])
    assert faults.counts == {"unknown label": 1, "missing label": 1}


def test_multilabel_by_separator_is_sorted() -> None:
    task, faults = _learn("multilabel", "red|blue", "blue | green", "green|red", separator="|")
    assert task.labels == ("blue", "green", "red")
    encoded = encode_task("x", task, _rows("red|red|blue|", "red|pink", "pink"), faults)
    np.testing.assert_array_equal(encoded, [[1, 0, 1], [0, 0, 1], [np.nan] * 3])
    assert faults.counts == {"unknown label": 2}


def test_regression_keeps_the_unit_and_learns_the_scale() -> None:
    task, faults = _learn("regression", "1", "3", "", "cheap")
    assert task.scale == (2.0, 1.0)
    encoded = encode_task("x", task, _rows("1", "1e3", "cheap", "nan", "inf"), faults)
    np.testing.assert_array_equal(encoded, np.array([1, 1000, np.nan, np.nan, np.nan], np.float32))
    assert faults.counts == {"not a number": 2, "missing label": 1}


@pytest.mark.parametrize("empty", ["", "  ", "NA", "nan", "NULL", "n/a"])
def test_an_empty_value_is_a_missing_label(empty: str) -> None:
    task, faults = _learn("multiclass", "a", "b", "a", "b", empty, empty)
    assert task.labels == ("a", "b")
    assert encode_task("x", task, _rows("a", empty), faults).tolist() == [0, -1]
    assert faults.counts == {"missing label": 1}
    assert faults.examples["missing label"][0].line == 3


def test_a_spelling_of_empty_that_the_config_calls_a_label_is_one() -> None:
    task, faults = _learn("multiclass", "NA", "EU", "EU", "NA", labels=("EU", "NA"))
    assert encode_task("x", task, _rows("NA"), faults).tolist() == [1]
    assert not faults


def test_a_label_that_training_has_not_seen_is_missing_and_counted() -> None:
    task, faults = _learn("multiclass", "a", "b", "a", "b")
    assert encode_task("x", task, _rows("c"), faults).tolist() == [-1]
    assert faults.counts == {"unknown label": 1}
    assert faults.examples["unknown label"][0].message == "x: 'c'"


def test_a_word_among_ordinal_values_is_missing_and_counted() -> None:
    task, faults = _learn("ordinal", "1", "2", "old", "1", "2")
    assert task.labels == ("1", "2")
    assert encode_task("x", task, _rows("old", "2"), faults).tolist() == [-1, 1]
    assert faults.counts == {"not a number": 1}


def test_a_class_seen_once_is_kept_and_counted_with_its_row() -> None:
    task, faults = _learn("multiclass", "a", "b", "a")
    assert task.labels == ("a", "b")
    assert faults.counts == {"class seen once": 1}
    example = faults.examples["class seen once"][0]
    assert (example.line, example.id, example.message) == (3, "id3", "x: b")


def test_a_given_label_that_no_row_has_is_counted() -> None:
    task, faults = _learn("multiclass", "a", "b", "a", "b", labels=("c", "b", "a"))
    assert task.labels == ("c", "b", "a")
    assert faults.counts == {"class never seen": 1}


@pytest.mark.parametrize(
    ("kind", "values", "fields", "says"),
    [
        ("multiclass", ["a", "a", ""], {}, "1 usable class"),
        ("multiclass", ["", "NA"], {}, r"0 usable class\(es\) in the training rows \(none\)"),
        ("ordinal", ["new", "old"], {}, "0 usable class"),
        ("binary", ["a", "b", "c"], {}, "needs exactly 2"),
        ("multilabel", ["", ""], {"separator": "|"}, "needs at least 1"),
        ("multilabel", ["Cats"], {"map": {"Dogs": ("pet",)}}, "needs at least 1"),
        ("regression", ["5", "5", "cheap"], {}, r"1 different number"),
    ],
)
def test_a_column_that_teaches_nothing_is_refused(
    kind: str, values: list[str], fields: dict[str, Any], says: str
) -> None:
    with pytest.raises(DataError, match=says) as caught:
        _learn(kind, *values, **fields)
    assert f"task x ({kind}): column 'x'" in str(caught.value)
