"""Fitting the calibration of a trained network: on its validation split, priors on its training split."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.calibration import (
    Calibration,
    TaskCalibration,
    fit_beta,
    fit_thresholds,
    has_classes,
    pattern_key,
    uncalibrated,
)
from model.config import Config, Task
from model.hierarchy import Hierarchies
from model.inference import PatternOutputs
from model.metrics import labelled_rows
from model.network.heads import activate
from model.network.multi_model import FUSED, LEAST_PROBABILITY, mix, temper
from model.training.losses import task_loss

# With fewer labelled samples than this, a fit would be noise.
_LEAST = 50
_TEMPERATURES = np.geomspace(0.25, 8.0, 41)
_LEAST_BETA = 1e-3
_SHARE_OF_TRUTH = 0.1


def fit_calibration(
    config: Config, outputs: dict[tuple[str, ...], PatternOutputs], labels: Mapping[str, NDArray[Any]]
) -> Calibration:
    """Fit temperatures and β, then conformal thresholds, per task and pattern.

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
    truth = torch.from_numpy(np.asarray(targets))
    likelihoods = {
        member: _likelihood(task, activate(task, torch.from_numpy(values) / temperatures[member]), truth).numpy()
        for member, values in raw.items()
    }
    entry = _fit_together(task, raw, truth, temperatures, fit_beta(likelihoods))
    if has_classes(task):
        entry.mix_temperature = _fit_mix_temperature(torch.from_numpy(_mixed(task, entry, raw)), truth)
    return entry


def _fit_together(
    task: Task,
    raw: dict[str, NDArray[np.float32]],
    truth: Tensor,
    temperatures: dict[str, float],
    beta: dict[str, float],
) -> TaskCalibration:
    """Go on from temperatures and β that were fitted one after the other to those that fit best together.

    Members that are each as sure as they are right are, mixed, less sure than they are right (Ranjan and Gneiting,
    "Combining probability forecasts", 2010): here they get sharper where that makes the mix likelier.
    """
    values = [torch.from_numpy(each).double() for each in raw.values()]
    start = [[math.log(temperatures[m]) for m in raw], [math.log(max(beta[m], _LEAST_BETA)) for m in raw]]
    logs = torch.tensor(start, dtype=torch.float64, requires_grad=True)  # [2, members]
    lowest, highest = math.log(_TEMPERATURES[0]), math.log(_TEMPERATURES[-1])

    def loss() -> Tensor:
        weights = torch.softmax(logs[1], 0)
        scaled = [each / t for each, t in zip(values, logs[0].clamp(lowest, highest).exp(), strict=True)]
        mixed = torch.stack([w * activate(task, each) for w, each in zip(weights, scaled, strict=True)]).sum(0)
        return _log_loss(_likelihood(task, mixed, truth))

    # A search that lost its way leaves things as they were.
    if _search([logs], loss):
        found = logs.detach()
        temperatures = {m: round(float(t), 6) for m, t in zip(raw, found[0].clamp(lowest, highest).exp(), strict=True)}
        weights = torch.softmax(found[1], 0)
        weights = torch.where(weights < _LEAST_BETA, 0.0, weights)
        beta = {m: round(float(w), 6) for m, w in zip(raw, weights / weights.sum(), strict=True)}
    return TaskCalibration(temperatures=temperatures, beta=beta)


def _fit_mix_temperature(answers: Tensor, truth: Tensor) -> tuple[float, float]:
    """Level and slope of `multi_model.temper` with which the confidence of the answered class fits best.

    That is: the log loss of "the answer is right, with this confidence", which is what is served, and a tenth of the
    log loss of the true class, for the sake of the other probabilities. The latter alone is least where the confidence
    is a little off, since all C probabilities share two numbers. Which class is answered does not change.
    answers: [n, C], truth: [n].
    """
    values = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    answers = answers.double()

    def loss() -> Tensor:
        tempered = temper(answers, values[0], values[1])
        confidence, answer = tempered.max(dim=1)
        served = _log_loss(torch.where(answer == truth, confidence, 1 - confidence))
        whole = _log_loss(tempered.gather(1, truth.long()[:, None])[:, 0])
        # The mix stays as it is unless some hundred samples say otherwise.
        return served + _SHARE_OF_TRUTH * whole + values.square().sum() / len(answers)

    if not _search([values], loss):
        return 0.0, 0.0
    level, slope = (round(value, 6) for value in values.tolist())
    return level, slope


def _search(parameters: list[Tensor], loss: Callable[[], Tensor]) -> bool:
    """Minimise the loss by L-BFGS. False where the search lost its way, in numbers too large for it."""
    search = torch.optim.LBFGS(parameters, max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> float:
        search.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        return value.item()

    before = float(loss().detach())
    search.step(closure)  # type: ignore[no-untyped-call]
    return float(loss().detach()) <= before


def _log_loss(likelihoods: Tensor) -> Tensor:
    return -likelihoods.clamp(min=LEAST_PROBABILITY).log().mean()


def _likelihood(task: Task, answer: Tensor, truth: Tensor) -> Tensor:
    """The probability given to each true answer; a multilabel task counts each label as a sample."""
    if task.kind == "multilabel":
        return torch.where(truth > 0.5, answer, 1 - answer).flatten()
    if task.kind == "binary":
        return torch.where(truth == 1, answer[:, 0], 1 - answer[:, 0])
    return answer.gather(1, truth.long()[:, None])[:, 0]


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
        name: blend(task, entries[name], {member: tasks[name] for member, tasks in output.raw.items()})
        for name, task in config.tasks.items()
    }
    return Hierarchies(config).consistent(mixed)


def blend(task: Task, entry: TaskCalibration, raw: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """The calibrated mix of the members' raw outputs, [n, C]."""
    answers = _mixed(task, entry, raw)
    if any(entry.mix_temperature):
        answers = temper(torch.from_numpy(answers), *entry.mix_temperature).numpy()
    return answers


def _mixed(task: Task, entry: TaskCalibration, raw: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    count = len(next(iter(raw.values())))
    temperatures = torch.tensor([entry.temperatures[m] for m in raw]).expand(count, -1)
    beta = torch.tensor([entry.beta[m] for m in raw]).expand(count, -1)
    return mix(task, map(torch.from_numpy, raw.values()), temperatures, beta).float().numpy()
