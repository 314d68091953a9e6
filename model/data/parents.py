"""Which class of the level above each class belongs to, learnt from the training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from model.config import Task
from model.data.faults import DataError, Faults
from model.data.labels import encode_task
from model.data.table import Row


def learn_parents(
    hierarchies: Sequence[Sequence[str]], tasks: Mapping[str, Task], rows: Sequence[Row], faults: Faults
) -> dict[str, Task]:
    """The tasks with `parents` filled in where a hierarchy names one of them below another.

    `tasks`: with their labels. A class that stands beside several parents belongs to the one that it stands beside most
    often, of several such the first. Parents that the config gives are kept. Rows that say otherwise are counted, and
    classes that stand beside no parent, and parents that no class is left for. Raises DataError where no row has both,
    and for a parent that the config gives to or of a class that there is not.
    """
    learnt = dict(tasks)
    for chain in hierarchies:
        for name, above in pairwise(chain):
            learnt[name] = _learn(name, above, tasks[name], tasks[above], rows, faults)
    return learnt


def _learn(name: str, above: str, task: Task, upper: Task, rows: Sequence[Row], faults: Faults) -> Task:
    for label, parent in task.parents.items():
        if label not in task.labels or parent not in upper.labels:
            raise DataError(
                f"tasks.{name}.parents: no training row has {name} {label!r}, or none has {above} {parent!r}"
            )
    # What is wrong with the labels themselves is counted where they are loaded.
    children, parents = (encode_task(*pair, rows, Faults()).astype(np.int64) for pair in ((name, task), (above, upper)))
    both = (children >= 0) & (parents >= 0)
    counts: NDArray[np.int64] = np.zeros((len(task.labels), len(upper.labels)), np.int64)
    np.add.at(counts, (children[both], parents[both]), 1)
    usual = counts.argmax(axis=1)
    known = {label: upper.labels[usual[c]] for c, label in enumerate(task.labels) if counts[c].any()} | task.parents
    if not known:
        raise DataError(
            f"hierarchy {name} → {above}: no training row has a class of both; fill in the columns, "
            "or remove the hierarchy"
        )
    for label in task.labels:
        if label not in known:
            faults.add("class without a place", f"{name}: which {above} {label!r} belongs to, no row says")
    for position in np.flatnonzero(both).tolist():
        label, found = task.labels[children[position]], upper.labels[parents[position]]
        if known[label] != found:
            row = rows[position]
            message = f"{name} {label!r} is {above} {known[label]!r}, not {found!r}"
            faults.add("against the hierarchy", message, line=row.line, id=row.id)
    for label in upper.labels:
        if label not in known.values():
            faults.add("class without a place", f"{above}: no {name} is {label!r}")
    return task.model_copy(update={"parents": {label: known[label] for label in task.labels if label in known}})
