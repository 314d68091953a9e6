"""Task weighting: what each method promises where gradients conflict, and on batches that lack a task's labels."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from model.config import Config, ConfigError, parse_config
from model.data.dataset import Dataset
from model.training.criterion import Criterion
from model.training.losses import label_count, task_loss
from tests.model.training.test_trainer import Listener, assert_same_outcome, changed, train

CLASSES = {"a": 3, "b": 4, "c": 2}
METHODS = ("upgrad", "mgda", "pcgrad")
methods = pytest.mark.parametrize("method", METHODS)


def config_of(weighting: str, weights: dict[str, float] | None = None) -> Config:
    tasks = {
        name: {
            "kind": "multiclass",
            "labels": [f"{name}{c}" for c in range(count)],
            "weight": (weights or {}).get(name, 1),
        }
        for name, count in CLASSES.items()
    }
    return parse_config(
        {
            "name": "three",
            "modalities": {"text": {"kind": "text", "columns": ["title"]}},
            "tasks": tasks,
            "training": {"task_weighting": weighting, "label_smoothing": 0.0},
        }
    )


class Case:
    """A shared representation [B, d], a linear head a task, and labels that pull h different ways."""

    def __init__(self, weighting: str, seed: int = 0, unlabelled: tuple[str, ...] = (), **weights: float) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.criterion = Criterion(config_of(weighting, weights))
        self.tasks = self.criterion.tasks
        self.h = torch.randn(2, 3, generator=generator).requires_grad_()
        self.heads = {
            name: torch.randn(3, count, generator=generator).requires_grad_() for name, count in CLASSES.items()
        }
        self.targets = {name: torch.randint(0, count, (2,), generator=generator) for name, count in CLASSES.items()}
        for name in unlabelled:
            self.targets[name][:] = -1
        self.counts = {name: label_count(target) for name, target in self.targets.items()}

    def losses(self, h: Tensor) -> Tensor:
        return self.criterion.losses({name: h @ head for name, head in self.heads.items()}, self.targets)

    def combined(self) -> Tensor:
        """∂/∂h of the criterion."""
        (gradient,) = torch.autograd.grad(self.criterion.combine(self.h, self.losses, self.counts), self.h)
        return gradient.flatten()

    def jacobian(self) -> Tensor:
        """Each task's own gradient of h [K, B · d], on the scale of the mean's terms."""
        shares = self.criterion.shares
        losses = (self.losses(self.h) * shares * len(shares)).unbind()
        return torch.stack([torch.autograd.grad(loss, self.h, retain_graph=True)[0].flatten() for loss in losses])


def conflicts(jacobian: Tensor) -> bool:
    return bool((jacobian @ jacobian.T < -1e-6).any())


@methods
def test_the_value_and_the_heads_gradients_are_those_of_the_mean(method: str) -> None:
    case, plain = Case(method), Case("equal")
    one = case.criterion.combine(case.h, case.losses, case.counts)
    two = plain.criterion.combine(plain.h, plain.losses, plain.counts)
    torch.testing.assert_close(one, two)
    for own, other in zip(
        torch.autograd.grad(one, list(case.heads.values())),
        torch.autograd.grad(two, list(plain.heads.values())),
        strict=True,
    ):
        torch.testing.assert_close(own, other)


def test_upgrad_never_works_against_a_task_where_the_mean_does() -> None:
    against = 0
    for seed in range(20):
        case = Case("upgrad", seed)
        jacobian = case.jacobian()
        assert bool((jacobian @ case.combined() >= -1e-3 * jacobian.norm() ** 2).all())
        against += bool((jacobian @ jacobian.mean(0) < -1e-2 * jacobian.norm() ** 2).any())
    assert against >= 2


def test_mgda_gives_the_shortest_mix_of_the_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    mixes = torch.rand(2000, len(CLASSES), generator=generator)
    mixes = mixes / mixes.sum(1, keepdim=True)
    for seed in range(5):
        case = Case("mgda", seed)
        assert case.combined().norm() <= (mixes @ case.jacobian()).norm(dim=1).min() * 1.02


@pytest.mark.parametrize("method", ["upgrad", "pcgrad"])
def test_without_conflict_nothing_changes(method: str) -> None:
    case, seed = Case(method), 0
    while conflicts(case.jacobian()):
        seed += 1
        case = Case(method, seed)
    torch.testing.assert_close(case.combined(), case.jacobian().mean(0), rtol=1e-3, atol=1e-6)


def test_pcgrad_changes_conflicting_gradients() -> None:
    case, seed = Case("pcgrad"), 0
    while not conflicts(case.jacobian()):
        seed += 1
        case = Case("pcgrad", seed)
    assert (case.combined() - case.jacobian().mean(0)).norm() > 1e-3 * case.jacobian().norm()


@methods
def test_the_products_of_gradients_are_exact_where_the_network_is_not(method: str) -> None:
    torch.manual_seed(0)
    expected = Case(method).combined()
    case = Case(method)
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):

        def losses(h: Tensor) -> Tensor:
            with torch.autocast("cpu", enabled=False):
                return case.losses(h)

        total = case.criterion.combine(case.h, losses, case.counts)
    torch.testing.assert_close(torch.autograd.grad(total, case.h)[0].flatten(), expected)


@methods
def test_a_task_without_a_label_in_the_batch_takes_no_part(method: str) -> None:
    torch.manual_seed(0)
    case = Case(method, unlabelled=("b",))
    combined = case.combined()
    jacobian = case.jacobian()[[0, 2]]
    # The direction is what the method makes of the two others alone; MGDA would stop for a gradient of zero.
    torch.manual_seed(0)
    weights = case.criterion._weights(jacobian @ jacobian.T)
    torch.testing.assert_close(combined, (weights @ jacobian) * 2 / 3)
    assert combined.norm() > 1e-3


@methods
def test_a_loss_that_is_no_number_stays_one_and_ends_nothing_else(method: str) -> None:
    case = Case(method)
    with torch.no_grad():
        case.heads["b"][0, 0] = torch.inf
    assert not bool(torch.isfinite(case.criterion.combine(case.h, case.losses, case.counts)))


@methods
def test_a_batch_without_any_label_has_no_gradient(method: str) -> None:
    assert bool((Case(method, unlabelled=tuple(CLASSES)).combined() == 0).all())


@methods
def test_a_heavier_task_counts_more_in_the_value(method: str) -> None:
    case = Case(method, a=4.0)
    losses = case.losses(case.h)
    found = case.criterion.combine(case.h, case.losses, case.counts)
    torch.testing.assert_close(found, (losses * torch.tensor([4 / 6, 1 / 6, 1 / 6])).sum())


def test_uncertainty_is_the_likelihood_of_kendall() -> None:
    case = Case("uncertainty")
    log_variances = case.criterion.log_variances
    assert log_variances is not None
    with torch.no_grad():
        log_variances.copy_(torch.tensor([0.3, -0.5, 0.0]))
    losses, s = case.losses(case.h).detach(), log_variances.detach()
    total = case.criterion.combine(case.h, case.losses, case.counts)
    torch.testing.assert_close(total, ((losses * torch.exp(-s) + s / 2) / 3).sum())
    (gradient,) = torch.autograd.grad(total, log_variances)
    torch.testing.assert_close(gradient, (0.5 - losses * torch.exp(-s)) / 3)
    torch.testing.assert_close(case.criterion.mean(losses), (losses * torch.exp(-s)).sum() / 3)


def test_an_unlabelled_task_s_variance_stays() -> None:
    case = Case("uncertainty", unlabelled=("b",))
    assert case.criterion.log_variances is not None
    (gradient,) = torch.autograd.grad(
        case.criterion.combine(case.h, case.losses, case.counts), case.criterion.log_variances
    )
    assert gradient[1] == 0
    assert bool((gradient[[0, 2]] != 0).all())


def test_uncertainty_leans_away_from_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    criterion = Criterion(config_of("uncertainty", {}))
    x = torch.randn(256, 8, generator=generator)
    targets = {name: (x[:, 0] > 0).long() for name in CLASSES}
    targets["b"] = torch.randint(0, 4, (256,), generator=generator)  # noise
    heads = nn.ModuleDict({name: nn.Linear(8, count) for name, count in CLASSES.items()})
    counts = {name: label_count(target) for name, target in targets.items()}
    optimizer = torch.optim.Adam([*heads.parameters(), *criterion.parameters()], 0.05)
    for _ in range(100):
        optimizer.zero_grad()
        criterion.combine(
            x, lambda h: criterion.losses({name: heads[name](h) for name in CLASSES}, targets), counts
        ).backward()
        optimizer.step()
    assert criterion.log_variances is not None
    a, b, c = criterion.log_variances.tolist()
    assert b > a + 0.5
    assert b > c + 0.5


@pytest.mark.parametrize("weighting", ["uncertainty", *METHODS])
def test_every_weighting_trains_and_resumes_to_the_same_end(dataset: Dataset, tmp_path: Path, weighting: str) -> None:
    data = changed(dataset, epochs=2, task_weighting=weighting)
    labels = data.splits["train"].labels
    # Most batches have no label of this task.
    gaps = labels | {"colour": np.where(np.arange(len(labels["colour"])) < 8, labels["colour"], -1)}
    data.splits = data.splits | {"train": replaced(data.splits["train"], labels=gaps)}
    whole = train(data, tmp_path / "whole")
    assert all(np.isfinite(record["loss"]) for record in whole.history)
    with pytest.raises(InterruptedError):
        train(data, tmp_path / "broken", Listener(crash_after=1))
    assert_same_outcome(whole, train(data, tmp_path / "broken"))


def replaced(value: Any, **changes: Any) -> Any:
    return type(value)(**(vars(value) | changes))


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "quadprog" else found(name, *rest)
    )
    with pytest.raises(ConfigError, match=r"upgrad needs quadprog.*trunkline\[train\]"):
        Criterion(config_of("upgrad", {}))
    Criterion(config_of("mgda", {}))


def test_the_losses_are_those_of_each_task_alone() -> None:
    case = Case("equal")
    for loss, (name, task) in zip(case.losses(case.h), case.tasks.items(), strict=True):
        torch.testing.assert_close(loss, task_loss(task, case.h @ case.heads[name], case.targets[name]))
