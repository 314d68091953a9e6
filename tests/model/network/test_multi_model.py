"""Multi-model fusion: the β mix of the fused network and those of single modalities."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from model.network.heads import activate
from model.network.multi_model import mix, temper
from tests.model.making import config_of, item_of, network_of, tensors

TASKS = config_of().tasks
RAW = {"colour": 3, "audience": 3, "sporty": 1, "price": 1, "year": 3}


@pytest.mark.parametrize("name", list(TASKS))
def test_mix_is_the_convex_combination_of_the_answers(name: str) -> None:
    torch.manual_seed(0)
    task = TASKS[name]
    raw = [torch.randn(2, RAW[name]) for _ in range(3)]
    temperatures = torch.tensor([[1.0, 2.0, 0.5], [1.0, 1.0, 3.0]])
    beta = torch.tensor([[0.6, 0.4, 0.0], [0.1, 0.2, 0.7]])
    found = mix(task, raw, temperatures, beta)
    for row in range(2):
        expected = 0
        for member in range(3):
            scale = 1.0 if task.kind == "regression" else float(temperatures[row, member])
            expected = expected + beta[row, member] * activate(task, raw[member][row : row + 1] / scale)[0]
        torch.testing.assert_close(found[row], expected)


def test_a_member_without_weight_may_hold_anything() -> None:
    raw = [torch.zeros(1, 3), torch.full((1, 3), float("nan"))]
    answer = mix(TASKS["colour"], raw, torch.ones(1, 2), torch.tensor([[1.0, 0.0]]))
    torch.testing.assert_close(answer, torch.full((1, 3), 1 / 3))


def test_a_tempered_answer_is_a_power_of_itself_whose_exponent_goes_by_its_entropy() -> None:
    p = torch.tensor([[0.7, 0.2, 0.1], [0.4, 0.3, 0.3], [1.0, 0.0, 0.0]])
    found = temper(p, torch.tensor([[0.5], [0.0], [1.0]]), torch.tensor([[-0.4], [2.0], [1.0]]))
    for row, (level, slope) in enumerate([(0.5, -0.4), (0.0, 2.0)]):
        entropy = -sum(float(x) * math.log(x) for x in p[row]) / math.log(3)
        powers = [float(x) ** (1 / math.exp(level + slope * entropy)) for x in p[row]]
        assert found[row].tolist() == pytest.approx([x / sum(powers) for x in powers], rel=1e-5)
    assert found[2].tolist() == pytest.approx([1, 0, 0], abs=1e-3), "a zero is no reason for a NaN"


def test_an_answer_tempered_by_nothing_stays_the_same() -> None:
    p = torch.softmax(3 * torch.randn(50, 7, generator=torch.Generator().manual_seed(0)), 1)
    torch.testing.assert_close(temper(p, 0.0, 0.0), p)
    assert temper(torch.ones(2, 1), 0.3, 0.3).tolist() == [[1.0], [1.0]], "one class leaves no choice"


def test_a_mix_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        mix(TASKS["colour"], [], torch.ones(1, 0), torch.ones(1, 0))


@torch.inference_mode()
def test_a_single_modality_network_reads_its_modality_alone() -> None:
    config = config_of()
    network = network_of(config)
    generator = np.random.default_rng(0)
    item = item_of(config, ("image", "text"), generator)
    other = {**item, "text": item_of(config, ("text",), generator)["text"]}
    one, two = (network(*tensors([i], config)) for i in (item, other))
    for task in config.tasks:
        torch.testing.assert_close(one.single["image"][task], two.single["image"][task], rtol=0, atol=1e-6)
        assert float((one.single["text"][task] - two.single["text"][task]).abs().max()) > 1e-5
