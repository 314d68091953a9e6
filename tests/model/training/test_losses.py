"""Losses: rows without a label teach nothing, a perfect answer costs nothing, a know-nothing one costs about 1."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from model.config import Task
from model.network.heads import activate, output_size
from model.training.criterion import Criterion
from model.training.losses import task_loss
from tests.support.tiny import tiny_config

TASKS = tiny_config().tasks
# Four rows, the third without a label.
TARGETS = {
    "colour": torch.tensor([0, 2, -1, 1]),
    "audience": torch.tensor([[1.0, 0, 1], [0, 0, 0], [math.nan] * 3, [1, 1, 1]]),
    "sporty": torch.tensor([1, 0, -1, 1]),
    "price": torch.tensor([20.0, 25.0, math.nan, 10.0]),
    "year": torch.tensor([0, 3, -1, 1]),
}
PERFECT = {
    "colour": functional.one_hot(TARGETS["colour"].clamp(min=0), 3) * 40.0,
    "audience": torch.nan_to_num(TARGETS["audience"]) * 80.0 - 40,
    "sporty": TARGETS["sporty"][:, None].clamp(min=0) * 80.0 - 40,
    "price": (torch.nan_to_num(TARGETS["price"])[:, None] - 20) / 5,
    "year": torch.where(TARGETS["year"][:, None] > torch.arange(3), 40.0, -40.0),
}
kinds = pytest.mark.parametrize("name", list(TASKS))


def gradient(task: Task, raw: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    raw = raw.clone().requires_grad_()
    (result,) = torch.autograd.grad(task_loss(task, raw, target, 0.05), raw)
    return result


def random_raw(name: str) -> torch.Tensor:
    return torch.randn(4, output_size(TASKS[name]), generator=torch.Generator().manual_seed(0))


@kinds
def test_a_row_without_a_label_has_exactly_no_gradient(name: str) -> None:
    found = gradient(TASKS[name], random_raw(name), TARGETS[name])
    assert bool((found[2] == 0).all())
    assert bool((found[[0, 1, 3]] != 0).any(dim=1).all())


@kinds
def test_a_row_without_a_label_does_not_count_in_the_mean(name: str) -> None:
    raw, keep = random_raw(name), [0, 1, 3]
    one = task_loss(TASKS[name], raw, TARGETS[name], 0.05)
    torch.testing.assert_close(one, task_loss(TASKS[name], raw[keep], TARGETS[name][keep], 0.05))


@kinds
def test_a_batch_without_any_label_costs_nothing_and_teaches_nothing(name: str) -> None:
    target = TARGETS[name][[2, 2]]
    raw = random_raw(name)[:2]
    assert task_loss(TASKS[name], raw, target).item() == 0
    assert bool((gradient(TASKS[name], raw, target) == 0).all())


@kinds
def test_a_perfect_answer_costs_nothing(name: str) -> None:
    assert task_loss(TASKS[name], PERFECT[name].float(), TARGETS[name]).item() == pytest.approx(0, abs=1e-5)


def test_a_know_nothing_answer_costs_one() -> None:
    uniform = {
        "colour": torch.zeros(4, 3),
        "audience": torch.zeros(4, 3),
        "sporty": torch.zeros(4, 1),
        # P(y > j | y >= j) of a uniform distribution over four classes.
        "year": torch.logit(torch.tensor([3 / 4, 2 / 3, 1 / 2])).expand(4, -1),
    }
    for name, raw in uniform.items():
        assert task_loss(TASKS[name], raw, TARGETS[name]).item() == pytest.approx(1, abs=1e-5), name


def test_ordinal_loss_is_the_cross_entropy_of_its_probabilities() -> None:
    raw = random_raw("year")
    probabilities = activate(TASKS["year"], raw)
    labelled = [0, 1, 3]
    expected = -probabilities[labelled, TARGETS["year"][labelled]].log().mean() / math.log(4)
    torch.testing.assert_close(task_loss(TASKS["year"], raw, TARGETS["year"]), expected)


def test_regression_is_in_units_of_the_deviation() -> None:
    target = torch.tensor([30.0])
    assert task_loss(TASKS["price"], torch.tensor([[2.5]]), target).item() == pytest.approx(0.25)
    assert task_loss(TASKS["price"], torch.tensor([[5.0]]), target).item() == pytest.approx(5.0)


def test_smoothing_keeps_from_being_too_sure() -> None:
    raw, target = PERFECT["colour"].float(), TARGETS["colour"]
    assert task_loss(TASKS["colour"], raw, target, 0.1).item() > 0.5


def test_total_is_the_weighted_mean() -> None:
    tasks = {"colour": TASKS["colour"].model_copy(update={"weight": 3.0}), "price": TASKS["price"]}
    criterion = Criterion(tiny_config().model_copy(update={"tasks": tasks}))
    raw = {name: random_raw(name) for name in tasks}
    parts = {name: task_loss(tasks[name], raw[name], TARGETS[name], 0.05) for name in raw}
    expected = (3 * parts["colour"] + parts["price"]) / 4
    torch.testing.assert_close(criterion.mean(criterion.losses(raw, TARGETS)), expected)
