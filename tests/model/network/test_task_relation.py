"""The task relation: T = 0 is hard sharing to the bit, T_kj = 0 is no path, and what is read is what R says."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from model.network.task_relation import TaskRelation
from tests.model.making import config_of, item_of, network_of, patterns, related, tensors

TASKS, WIDTH, TASK_WIDTH = 4, 8, 6


@st.composite
def relations(draw: st.DrawFn) -> torch.Tensor:
    bits = draw(st.lists(st.booleans(), min_size=TASKS * TASKS, max_size=TASKS * TASKS))
    matrix = torch.tensor(bits).view(TASKS, TASKS).float()
    return matrix * (1 - torch.eye(TASKS))


def shaken(relation: torch.Tensor, seed: int = 0) -> TaskRelation:
    torch.manual_seed(seed)
    module = TaskRelation(relation, WIDTH, TASK_WIDTH)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    return module


def by_hand(module: TaskRelation, h: torch.Tensor) -> torch.Tensor:
    """t' from the formula, a loop at a time: [B, K, task_width]."""
    t = [functional.gelu(h @ module.U[k] + module.bias[k]) for k in range(TASKS)]
    rows = []
    for k in range(TASKS):
        weights = {j: float(torch.sigmoid(module.theta[k, j].detach())) for j in range(TASKS) if module.T[k, j]}
        total = sum(weights.values())
        read = sum((w / total * (t[j] @ module.A) for j, w in weights.items()), torch.zeros_like(t[k]))
        rows.append(t[k] + module.gamma[k] * read)
    return torch.stack(rows, dim=1)


def test_no_relation_is_hard_sharing_to_the_bit() -> None:
    config = config_of()
    network = network_of(config)
    generator = torch.Generator().manual_seed(1)
    h = torch.randn(7, network.width, generator=generator)
    relation = network.task_relation
    plain = functional.gelu(torch.einsum("bd,kdw->bkw", h, relation.U) + relation.bias)
    assert torch.equal(relation(h), plain)
    heads = network.heads(relation(h), network.tasks)
    for k, name in enumerate(network.tasks):
        assert torch.equal(heads[name], network.heads.layers[k](plain[:, k]))


def test_without_relation_nothing_of_it_can_change_an_answer_by_a_bit() -> None:
    import numpy as np

    config = config_of()
    network = network_of(config)
    generator = np.random.default_rng(2)
    inputs, present = tensors([item_of(config, p, generator) for p in patterns(config)], config)
    before = network(inputs, present)
    with torch.no_grad():
        network.task_relation.theta.normal_(std=100)
        network.task_relation.A.fill_(float("nan"))
        network.task_relation.gamma.fill_(float("inf"))
    after = network(inputs, present)
    for name in config.tasks:
        assert torch.equal(before.fused[name], after.fused[name])


def test_gamma_zero_equals_no_relation_to_the_bit() -> None:
    full = shaken(1 - torch.eye(TASKS))
    none = TaskRelation(torch.zeros(TASKS, TASKS), WIDTH, TASK_WIDTH)
    state = full.state_dict()
    with torch.no_grad():
        full.gamma.zero_()
    none.load_state_dict(state | {"T": none.T.clone(), "gamma": full.gamma})
    h = torch.randn(5, WIDTH)
    assert torch.equal(full(h), none(h))


@settings(deadline=None, max_examples=30)
@given(relations(), st.integers(0, 1000))
def test_formula(relation: torch.Tensor, seed: int) -> None:
    module = shaken(relation, seed)
    h = torch.randn(3, WIDTH)
    torch.testing.assert_close(module(h), by_hand(module, h), rtol=1e-4, atol=1e-4)


@settings(deadline=None, max_examples=30)
@given(relations(), st.integers(0, 1000))
def test_rows_of_r_are_weights_over_the_related_tasks(relation: torch.Tensor, seed: int) -> None:
    weights = shaken(relation, seed).R()
    assert bool((weights[relation == 0] == 0).all())
    assert bool((weights[relation == 1] > 0).all())
    torch.testing.assert_close(weights.sum(1), relation.any(1).float())


@settings(deadline=None, max_examples=30)
@given(relations(), st.integers(0, 1000))
def test_a_task_learns_only_what_it_reads(relation: torch.Tensor, seed: int) -> None:
    """T_kj = 0: the loss of task k has exactly no gradient in U_j; T_kj = 1: it has one."""
    module = shaken(relation, seed)
    h = torch.randn(6, WIDTH)
    for k in range(TASKS):
        (gradient,) = torch.autograd.grad(module(h)[:, k].square().sum(), module.U)
        for j in range(TASKS):
            expected = j == k or bool(relation[k, j])
            assert bool((gradient[j] != 0).any()) is expected, (k, j)


def test_a_tasks_whole_loss_reaches_only_what_it_reads() -> None:
    """The same through the whole network, the heads and the loss."""
    import numpy as np

    config = config_of()
    tasks = list(config.tasks)
    relation = related(len(tasks), (0, 2), (3, 0))
    network = network_of(config, relation)
    inputs, present = tensors([item_of(config, ("image", "text"), np.random.default_rng(s)) for s in range(3)], config)
    for k, name in enumerate(tasks):
        network.zero_grad(set_to_none=True)
        network(inputs, present).fused[name].square().sum().backward()
        gradient = network.task_relation.U.grad
        assert gradient is not None
        for j in range(len(tasks)):
            assert bool((gradient[j] != 0).any()) is (j == k or bool(relation[k, j])), (name, tasks[j])


@settings(deadline=None, max_examples=30)
@given(relations(), st.permutations(range(TASKS)), st.integers(0, TASKS))
def test_asking_for_some_tasks_gives_their_answers(relation: torch.Tensor, order: list[int], count: int) -> None:
    module = shaken(relation)
    h = torch.randn(3, WIDTH)
    asked = order[:count]
    torch.testing.assert_close(module(h, asked), module(h)[:, asked], rtol=1e-5, atol=1e-6)


@settings(deadline=None, max_examples=20)
@given(relations())
def test_penalty_formula(relation: torch.Tensor) -> None:
    module = shaken(relation)
    weights = module.U.detach()
    expected = sum(
        float(relation[i, j] * (weights[i] - weights[j]).square().sum()) for i in range(TASKS) for j in range(TASKS)
    )
    assert module.penalty().item() == pytest.approx(expected, rel=1e-5)


def test_penalty_pulls_related_tasks_together_and_no_others() -> None:
    module = shaken(related(TASKS, (0, 1)))
    module.penalty().backward()
    assert module.U.grad is not None
    assert [bool((g != 0).any()) for g in module.U.grad] == [True, True, False, False]


@pytest.mark.parametrize("matrix", [torch.eye(3), torch.full((3, 3), 0.5) * (1 - torch.eye(3)), torch.zeros(2, 3)])
def test_refuses_what_is_no_relation(matrix: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="T "):
        TaskRelation(matrix, WIDTH, TASK_WIDTH)
