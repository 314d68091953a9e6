"""What each modality contributed to an answer: the Shapley values of the modalities that are present.

The value of a coalition is what the service would answer if only its modalities had come, calibrated for just that set;
of nobody, it is the task's prior. The encoders run once for all coalitions (`model.preprocess.Narrowed`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.config import Task
from model.preprocess import Item, Narrowed
from model.shapley import MOST_PLAYERS, between, shapley_values

__all__ = ["MOST_PLAYERS", "coalitions", "contributions", "explained", "narrowed_to_coalitions"]

FloatArray = NDArray[np.floating]


def coalitions(present: Sequence[str]) -> list[tuple[str, ...]]:
    """The sets of modalities that have to be answered besides the whole, in the order that `contributions` wants."""
    return [tuple(name for player, name in enumerate(present) if bits >> player & 1) for bits in between(len(present))]


def narrowed_to_coalitions(items: Sequence[Item], names: Sequence[str], chosen: Sequence[bool]) -> Narrowed | None:
    """The further answers that explain the `chosen` of a batch's items, item by item; None where there are none.

    `names`: the modalities in the order of the config.
    """
    rows, present = [], []
    for row, (item, wanted) in enumerate(zip(items, chosen, strict=True)):
        for coalition in coalitions([name for name in names if name in item]) if wanted else ():
            rows.append(row)
            present.append([name in coalition for name in names])
    return Narrowed(np.array(rows, np.int64), np.array(present, np.bool_)) if rows else None


def explained(task: Task, answers: FloatArray, said: FloatArray) -> FloatArray:
    """The quantity that an explanation divides up, in each of several answers: […], or […, C] of a multilabel task.

    answers: […, C]; `said`: [C], the answer that is explained. The probability of the label that it names, of a
    multilabel task that of every label, of regression the value.
    """
    if task.kind == "multilabel":
        return answers
    if task.kind == "regression":
        return answers[..., 0]
    if task.kind == "binary":
        return answers[..., 0] if said[0] >= 0.5 else 1 - answers[..., 0]
    return answers[..., int(said.argmax())]


def contributions(
    task: Task, prior: Sequence[float], parts: FloatArray, whole: FloatArray, said: FloatArray | None = None
) -> tuple[FloatArray, NDArray[np.float64]]:
    """The base, [] or [C], and each present modality's contribution, [M] or [M, C]: in sum, what is explained.

    `prior`: [C]; parts: [2^M - 2, C], the answers to `coalitions`; whole: [C], that to all. `said`: the answer whose
    quantity is divided up, by default the whole. Of n items at once: parts [2^M - 2, n, C] and whole [n, C] give
    contributions [M, n] or [M, n, C]; then `said` is needed.
    """
    nobody = np.broadcast_to(np.asarray(prior, np.float64), whole.shape)
    answers = np.concatenate([nobody[None], parts, whole[None]])
    values = explained(task, answers, whole if said is None else said)
    return values[0], shapley_values(values)
