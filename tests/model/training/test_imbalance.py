"""Rare classes: either remedy finds more of them, and what is served and calibrated is the plain answer still."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from model.calibration import patterns_of
from model.config import Task
from model.inference import PatternOutputs
from model.network.heads import output_size
from model.network.multi_model import FUSED
from model.training.calibrate import fit_calibration
from model.training.imbalance import Balance, class_counts
from model.training.losses import row_losses
from tests.support.tiny import tiny_config

# Twenty rows a task, one of them without a label; classes far from equal.
LABELS = {
    "colour": np.array([0] * 14 + [1] * 4 + [2] + [-1]),
    "audience": np.vstack([np.repeat([[1, 1, 0]], 15, 0), np.repeat([[0, 1, 1]], 3, 0), [[0, 0, 0]], [[np.nan] * 3]]),
    "sporty": np.array([0] * 16 + [1] * 3 + [-1]),
    "year": np.array([0] * 2 + [1] * 12 + [2] * 4 + [3] + [-1]),
}
REMEDIES = ("logit_adjustment", "class_weights")


def task_of(name: str, imbalance: str) -> Task:
    return tiny_config().tasks[name].model_copy(update={"imbalance": imbalance})


@pytest.mark.parametrize("name", list(LABELS))
def test_logit_adjustment_makes_know_nothing_answers_treat_classes_alike(name: str) -> None:
    """Where inputs tell nothing, the best answer under the adjusted loss is the uniform one, not the prior."""
    task, target = task_of(name, "logit_adjustment"), torch.from_numpy(LABELS[name])
    raw = torch.zeros(output_size(task))
    if task.kind == "ordinal":
        raw = torch.logit(torch.tensor([3 / 4, 2 / 3, 1 / 2]))
    raw.requires_grad_()
    rows = row_losses(task, raw.expand(len(target), -1), target, balance=Balance(task, LABELS[name]))
    (adjusted,) = torch.autograd.grad(rows.sum(), raw)
    (plain,) = torch.autograd.grad(row_losses(task, raw.expand(len(target), -1), target).sum(), raw)
    torch.testing.assert_close(adjusted, torch.zeros_like(adjusted), atol=1e-4, rtol=0)
    assert float(plain.abs().max()) > 1


@pytest.mark.parametrize("name", list(LABELS))
def test_class_weights_keep_the_mean_and_lift_the_rare(name: str) -> None:
    task = task_of(name, "class_weights")
    counts, weight = torch.from_numpy(class_counts(task, LABELS[name])), Balance(task, LABELS[name]).weight
    assert weight is not None
    torch.testing.assert_close((counts * weight).sum(0), counts.sum(0), check_dtype=False)
    order = counts.argsort(0, descending=True)
    lifted = weight.gather(0, order)
    assert bool((lifted.diff(dim=0) > 0).any())
    assert bool((lifted.diff(dim=0) >= 0).all())


@pytest.mark.parametrize("name", list(LABELS))
@pytest.mark.parametrize("remedy", REMEDIES)
def test_a_row_without_a_label_still_costs_and_teaches_nothing(name: str, remedy: str) -> None:
    task, target = task_of(name, remedy), torch.from_numpy(LABELS[name])
    raw = torch.randn(len(target), output_size(task), generator=torch.Generator().manual_seed(0)).requires_grad_()
    rows = row_losses(task, raw, target, 0.05, Balance(task, LABELS[name]))
    (gradient,) = torch.autograd.grad(rows.sum(), raw)
    assert rows[-1] == 0
    assert bool((gradient[-1] == 0).all())
    assert bool((gradient[:-1] != 0).any(1).all())


def test_a_class_that_no_training_row_has_stays_finite() -> None:
    for remedy in REMEDIES:
        task = task_of("colour", remedy)
        balance = Balance(task, np.array([0, 0, 1]))
        rows = row_losses(task, torch.zeros(1, 3), torch.tensor([2]), balance=balance)
        assert math.isfinite(float(rows))


@pytest.mark.parametrize("remedy", ["none", *REMEDIES])
def test_rare_classes_are_found_more_often(remedy: str) -> None:
    generator = np.random.default_rng(0)
    task = task_of("colour", remedy)
    means = np.array([[0.0, 0.0], [1.5, 0.0], [0.0, 1.5]])

    def draw(sizes: tuple[int, ...]) -> tuple[torch.Tensor, np.ndarray]:
        labels = np.repeat(np.arange(3), sizes)
        return torch.from_numpy(means[labels] + generator.normal(size=(len(labels), 2))).float(), labels

    x, labels = draw((2000, 80, 20))
    tested, truth = draw((500, 500, 500))
    balance = None if remedy == "none" else Balance(task, labels)
    layer = torch.nn.Linear(2, 3)
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = row_losses(task, layer(x), torch.from_numpy(labels), balance=balance).mean()
        value.backward()
        return value

    optimizer.step(loss)
    recall = (layer(tested).argmax(1).numpy() == truth)[500:].mean()
    assert recall < 0.15 if remedy == "none" else recall > 0.35, recall


def test_calibration_is_of_the_answer_that_is_served() -> None:
    """The offset belongs to the training loss: temperatures, β and thresholds must not see it."""
    generator = np.random.default_rng(0)
    plain = tiny_config()
    tasks = {n: t if t.kind == "regression" else task_of(n, "logit_adjustment") for n, t in plain.tasks.items()}
    adjusted = plain.model_copy(update={"tasks": tasks})
    labels = {name: np.repeat(values, 20, axis=0) for name, values in LABELS.items()} | {"price": np.full(400, np.nan)}
    outputs = {
        pattern: PatternOutputs(
            np.arange(400),
            {
                member: {
                    name: generator.normal(size=(400, output_size(task))).astype(np.float32)
                    for name, task in plain.tasks.items()
                }
                for member in (FUSED, *pattern)
            },
        )
        for pattern in patterns_of(plain)
    }
    assert fit_calibration(adjusted, outputs, labels) == fit_calibration(plain, outputs, labels)


def test_a_regression_has_no_classes_to_balance() -> None:
    with pytest.raises(ValidationError, match="imbalance is of classes"):
        Task(kind="regression", imbalance="class_weights")
