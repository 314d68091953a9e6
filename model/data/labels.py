"""Label columns become arrays: classes are learnt from the training rows and looked up in every row."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from model.config import Task
from model.data.faults import DataError, Faults
from model.data.table import Row

Labels = NDArray[np.int64] | NDArray[np.float32]

# How tables write "no value": the spellings of pandas, spreadsheets and SQL exports, in any case.
MISSING = frozenset({"", "na", "n/a", "nan", "null", "<na>"})


def learn_task(name: str, task: Task, rows: Sequence[Row], faults: Faults) -> Task:
    """The task with its labels (or, for regression, its scale) filled from the training rows.

    Classes are sorted; ordinal ones by value; those of a multilabel `map` stand in order of first appearance in it.
    Labels or a scale that the config gives are kept. Raises DataError when the column cannot teach the task anything.
    """
    column = task.column or name
    if task.kind == "regression":
        return _learn_scale(name, task, rows)
    counts: Counter[str] = Counter()
    first: dict[str, Row] = {}
    for row in rows:
        cell = _cell(name, task, row)
        for label in (_names(task, cell) if cell is not None else None) or ():
            counts[label] += 1
            first.setdefault(label, row)
    labels = task.labels or tuple(_ordered(task, counts))
    usable = [label for label in labels if counts[label]]
    needed = 1 if task.kind == "multilabel" else 2
    if len(usable) < needed or (task.kind == "binary" and len(labels) != 2):
        found = ", ".join(repr(label) for label in usable[:10]) or "none"
        rule = "exactly 2" if task.kind == "binary" else f"at least {needed}"
        raise DataError(
            f"task {name} ({task.kind}): column {column!r} has {len(usable)} usable class(es) in the training rows "
            f"({found}), but needs {rule}. Correct the column, change the task's kind, or remove the task."
        )
    for label in labels:
        if counts[label] == 1:
            faults.add("class seen once", f"{name}: {label}", line=first[label].line, id=first[label].id)
        elif counts[label] == 0:
            faults.add("class never seen", f"{name}: {label}")
    return task.model_copy(update={"labels": labels})


def encode_task(name: str, task: Task, rows: Sequence[Row], faults: Faults) -> Labels:
    """The labels of the rows for a task whose labels are known.

    multiclass, ordinal, binary: class index int64 [n], -1 = missing; multilabel: 0/1 float32 [n, C], a row of NaN =
    missing; regression: the value as it stands in the table, float32 [n], NaN = missing.
    """
    index = {label: number for number, label in enumerate(task.labels)}
    classes = np.full(len(rows), -1, np.int64)
    many = np.full((len(rows), len(index)), np.nan, np.float32)
    numbers = np.full(len(rows), np.nan, np.float32)
    for position, row in enumerate(rows):
        cell = _cell(name, task, row)
        if cell is None:
            faults.add("missing label", name, line=row.line, id=row.id)
            continue
        if task.kind == "regression":
            number = _number(cell)
            if number is None:
                faults.add("not a number", f"{name}: {cell!r}", line=row.line, id=row.id)
            else:
                numbers[position] = number
            continue
        names = _names(task, cell)
        if names is None and task.kind == "ordinal":
            faults.add("not a number", f"{name}: {cell!r}", line=row.line, id=row.id)
            continue
        known = [index[label] for label in names or () if label in index]
        if names is None or len(known) < len(names):
            faults.add("unknown label", f"{name}: {cell!r}", line=row.line, id=row.id)
        if names is None or (names and not known):
            continue
        if task.kind == "multilabel":
            many[position] = 0.0
            many[position, known] = 1.0
        else:
            classes[position] = known[0]
    return {"multilabel": many, "regression": numbers}.get(task.kind, classes)


def _cell(name: str, task: Task, row: Row) -> str | None:
    """The row's value for the task; None when it is missing."""
    cell = row.fields[task.column or name].strip()
    if cell.lower() not in MISSING or cell in task.labels or (task.map is not None and cell in task.map):
        return cell
    return None


def _names(task: Task, cell: str) -> tuple[str, ...] | None:
    """The labels that a value stands for; None when it stands for nothing: not in the map, or not a number."""
    if task.map is not None:
        return task.map.get(cell)
    if task.separator is not None:
        return tuple(dict.fromkeys(part.strip() for part in cell.split(task.separator) if part.strip()))
    if task.kind == "ordinal":
        number = _number(cell)
        # "2012" and "2012.0" (what pandas makes of a column with gaps) are one class.
        return None if number is None else (str(int(number)) if number.is_integer() else repr(number),)
    return (cell,)


def _number(cell: str) -> float | None:
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _ordered(task: Task, labels: Iterable[str]) -> list[str]:
    if task.map is not None:
        return list(dict.fromkeys(label for value in task.map.values() for label in value))
    return sorted(labels, key=float) if task.kind == "ordinal" else sorted(labels)


def _learn_scale(name: str, task: Task, rows: Sequence[Row]) -> Task:
    if task.scale is not None:
        return task
    cells = (_cell(name, task, row) for row in rows)
    values = [number for cell in cells if cell is not None and (number := _number(cell)) is not None]
    deviation = float(np.std(values)) if values else 0.0
    if not math.isfinite(deviation) or deviation <= 0.0:
        raise DataError(
            f"task {name} (regression): column {task.column or name!r} has {len(set(values))} different number(s) in "
            "the training rows, but needs at least 2. Correct the column or remove the task."
        )
    return task.model_copy(update={"scale": (float(np.mean(values)), deviation)})
