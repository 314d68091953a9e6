"""Fitting the calibration of a trained network: on its validation split, priors on its training split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.calibration import (
    Calibration,
    TaskCalibration,
    fit_beta,
    fit_thresholds,
    members_of,
    pattern_key,
    uncalibrated,
)
from model.config import Config, Task
from model.hierarchy import Hierarchies
from model.inference import PatternOutputs
from model.metrics import labelled_rows
from model.network.heads import activate
from model.network.multi_model import FUSED, mix
from model.training.losses import task_loss

# With fewer labelled samples than this, a fit would be noise.
_LEAST = 50
_TEMPERATURES = np.geomspace(0.25, 8.0, 41)


def fit_calibration(
    config: Config, outputs: dict[tuple[str, ...], PatternOutputs], labels: Mapping[str, NDArray[Any]]
) -> Calibration:
    """Fit temperatures, then β, then conformal thresholds, per task and pattern.

    Thresholds are those of the answers as they are served: of tasks in a hierarchy, those that do not contradict one
    another. A task or pattern with too few labelled samples keeps the fused network alone, at temperature 1.
    """
    calibration = uncalibrated(config)
    for pattern, output in outputs.items():
        entries = calibration.patterns[pattern_key(pattern)]
        labelled = {}
        for name, task in config.tasks.items():
            targets = labels[name][output.rows]
            rows = labelled_rows(task, targets)
            if rows.sum() < _LEAST:
                continue
            labelled[name] = rows
            raw = {member: tasks[name][rows] for member, tasks in output.raw.items()}
            entries[name] = _fit_members(task, raw, targets[rows])
        answers = blend_all(config, entries, output)
        for name, rows in labelled.items():
            targets = labels[name][output.rows][rows]
            entries[name].thresholds = fit_thresholds(config.tasks[name], answers[name][rows], targets)
    return calibration


def fit_priors(config: Config, labels: Mapping[str, NDArray[Any]]) -> dict[str, list[float]]:
    """What is known before anything is seen: task -> one answer, as `model.outputs.Outputs` has them.

    The shares of the classes, of a multilabel task the share of the rows that have each label, of regression the mean.
    labels: of the training rows, as `model.data.dataset.Split` has them. A task without any has no prior.
    """
    priors = {}
    for name, task in config.tasks.items():
        known = labels[name][labelled_rows(task, labels[name])]
        if not len(known):
            continue
        if task.kind in ("multiclass", "ordinal"):
            shares = np.bincount(known, minlength=len(task.labels)) / len(known)
        else:
            shares = np.atleast_1d(known.mean(axis=0, dtype=np.float64))
        priors[name] = [float(f"{value:.9g}") for value in shares.tolist()]
    return priors


def _fit_members(task: Task, raw: dict[str, NDArray[np.float32]], targets: NDArray[Any]) -> TaskCalibration:
    temperatures = {member: _fit_temperature(task, values, targets) for member, values in raw.items()}
    if task.kind == "regression":
        # The mix of values with the least absolute error, along the line from the fused network to each single one.
        return TaskCalibration(temperatures=temperatures, beta=_fit_regression(task, raw, targets))
    likelihoods = {}
    for member, values in raw.items():
        answer = activate(task, torch.from_numpy(values) / temperatures[member]).numpy()
        likelihoods[member] = _likelihood(task, answer, targets)
    return TaskCalibration(temperatures=temperatures, beta=fit_beta(likelihoods))


def _likelihood(task: Task, answer: NDArray[np.floating], targets: NDArray[Any]) -> NDArray[np.floating]:
    """The probability given to each true answer; a multilabel task counts each label as a sample."""
    if task.kind == "multilabel":
        return np.where(targets > 0.5, answer, 1 - answer).ravel()
    if task.kind == "binary":
        return np.where(targets == 1, answer[:, 0], 1 - answer[:, 0])
    return np.asarray(answer[np.arange(len(targets)), targets.astype(np.int64)])


def _fit_temperature(task: Task, raw: NDArray[np.float32], targets: NDArray[Any]) -> float:
    """The temperature with the least loss on a fine grid. Source: Guo et al., "On Calibration", 2017."""
    if task.kind == "regression":
        return 1.0
    values, truth = torch.from_numpy(raw), torch.from_numpy(np.asarray(targets))
    losses = [float(task_loss(task, values / float(t), truth)) for t in _TEMPERATURES]
    return round(float(_TEMPERATURES[int(np.argmin(losses))]), 6)


def _fit_regression(task: Task, raw: dict[str, NDArray[np.float32]], targets: NDArray[Any]) -> dict[str, float]:
    values = {member: activate(task, torch.from_numpy(v)).numpy()[:, 0] for member, v in raw.items()}
    best, best_error = {member: float(member == FUSED) for member in raw}, np.inf
    for member in raw:
        for share in np.linspace(0, 1, 21):
            mixed = (1 - share) * values[FUSED] + share * values[member]
            error = float(np.abs(mixed - targets).mean())
            if error < best_error - 1e-9:
                beta = dict.fromkeys(raw, 0.0)
                beta[FUSED] += 1 - float(share)
                beta[member] += float(share)
                best, best_error = {m: round(b, 6) for m, b in beta.items()}, error
    return best


def blend_all(
    config: Config, entries: Mapping[str, TaskCalibration], output: PatternOutputs
) -> dict[str, NDArray[np.float32]]:
    """Every task's answers to the samples of a pattern, as the service gives them: task -> [n, C]."""
    mixed = {
        name: blend(config, task, entries[name], {member: tasks[name] for member, tasks in output.raw.items()})
        for name, task in config.tasks.items()
    }
    return Hierarchies(config).consistent(mixed)


def blend(
    config: Config, task: Task, entry: TaskCalibration, raw: dict[str, NDArray[np.float32]]
) -> NDArray[np.float32]:
    """The calibrated mix of the members' raw outputs, [n, C]."""
    members = [member for member in members_of(config) if member in raw]
    count = len(raw[members[0]])
    temperatures = torch.tensor([entry.temperatures[m] for m in members]).expand(count, -1)
    beta = torch.tensor([entry.beta[m] for m in members]).expand(count, -1)
    return mix(task, [torch.from_numpy(raw[m]) for m in members], temperatures, beta).float().numpy()
