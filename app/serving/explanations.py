"""What an answer rests on, in the shape of the HTTP contract: docs/explanations.md says what each number is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.serving.rounding import rounded, significant
from app.serving.splitting import Row
from model.calibration import Calibration
from model.config import Config, Task
from model.erasure import Grid, Word
from model.explanation import MOST_PLAYERS, contributions

Weights = Mapping[str, NDArray[np.floating]]  # task -> [n], or [n, C] of a multilabel task


@dataclass(frozen=True)
class Parts:
    """One modality's parts: the cells of a picture or the words of a text, and what each gave to every task."""

    parts: Grid | Sequence[Word]
    weights: Weights


def explainable(tasks: Sequence[str], present: int, calibration: Calibration) -> bool:
    """Whether contributions can be told: some task has a prior, and there are not too many coalitions."""
    return present <= MOST_PLAYERS and any(task in calibration.priors for task in tasks)


def explanation(
    row: Row,
    name: str,
    modalities: Sequence[str],
    config: Config,
    calibration: Calibration,
    relation: Mapping[str, float],
    parts: Mapping[str, Parts],
) -> dict[str, Any]:
    """One task's explanation. `modalities`: those present; `parts`: of those that were taken apart."""
    told: dict[str, Any] = {
        "alpha": {
            modality: rounded(weight)
            for modality, weight in zip(config.modalities, row.alpha.tolist(), strict=True)
            if modality in modalities
        },
        "beta": {member: rounded(weight) for member, weight in calibration.beta(name, modalities).items()},
        "relation": {other: rounded(weight) for other, weight in relation.items()},
    }
    prior = calibration.priors.get(name)
    if prior is None or len(modalities) > MOST_PLAYERS:
        return told
    task = config.tasks[name]
    digits = significant if task.kind == "regression" else rounded
    whole = row.probabilities[name]
    base, values = contributions(task, prior, coalitions_of(row, name), whole)

    def tell(label: int | None) -> tuple[float, dict[str, float], dict[str, Any]]:
        of = base if label is None else base[label]
        own = values if label is None else values[:, label]
        return (
            digits(float(of)),
            {modality: digits(value) for modality, value in zip(modalities, own.tolist(), strict=True)},
            {modality: _tell_parts(taken, taken.weights[name], label, digits) for modality, taken in parts.items()},
        )

    if task.kind == "multilabel":
        labelled = {label: tell(number) for number, label in enumerate(task.labels)}
        told["base"], told["shapley"], apart = (
            {label: entry[place] for label, entry in labelled.items()} for place in range(3)
        )
    else:
        told["base"], told["shapley"], apart = tell(None)
    if parts:
        told["parts"] = apart
    return told


def coalitions_of(row: Row, task: str) -> NDArray[np.floating]:
    """The answers to the coalitions, [2^M - 2, C]: none of an item with one modality."""
    return row.coalitions.get(task, np.empty((0, len(row.probabilities[task])), np.float32))


def _tell_parts(
    taken: Parts, weights: NDArray[np.floating], label: int | None, digits: Callable[[float], float]
) -> list[Any]:
    """A heat map, row by row, or words with their weights."""
    values = [digits(value) for value in (weights if label is None else weights[:, label]).tolist()]
    if isinstance(taken.parts, Grid):
        columns = taken.parts.columns
        return [values[start : start + columns] for start in range(0, len(values), columns)]
    return [{"word": word.text, "weight": value} for word, value in zip(taken.parts, values, strict=True)]


def lost(
    task: Task,
    prior: Sequence[float],
    said: NDArray[np.floating],
    value: NDArray[np.floating],
    modality: int,
    coalitions: NDArray[np.floating],
    wholes: NDArray[np.floating],
) -> NDArray[np.floating]:
    """What a modality's contribution `value`, [] or [C], loses with each of n parts: [n] or [n, C].

    `said`: [C], the answer; `modality`: its number among those present; coalitions [2^M - 2, n, C] and wholes [n, C]:
    the answers to the items that lack a part.
    """
    _, values = contributions(task, prior, coalitions, wholes, said)
    result: NDArray[np.floating] = value - values[modality]
    return result
