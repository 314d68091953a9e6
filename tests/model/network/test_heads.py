"""Heads: one a task, of every kind, and what their raw outputs mean."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import Task
from model.network.heads import activate, ordinal_probabilities, output_size
from tests.model.making import config_of, item_of, network_of, tensors

SIZES = {"colour": 3, "audience": 3, "sporty": 1, "price": 1, "year": 3}


def test_sizes() -> None:
    assert {name: output_size(task) for name, task in config_of().tasks.items()} == SIZES


def test_ordinal_matches_a_hand_calculation() -> None:
    # P(y > 0) = 0.75, P(y > 1 | y > 0) = 0.5: 0.25, 0.375, 0.375.
    raw = torch.logit(torch.tensor([[0.75, 0.5]]))
    torch.testing.assert_close(ordinal_probabilities(raw), torch.tensor([[0.25, 0.375, 0.375]]))


@settings(deadline=None)
@given(st.lists(st.floats(-200, 200, width=32), min_size=1, max_size=12))
def test_ordinal_probabilities_are_probabilities(raw: list[float]) -> None:
    probabilities = ordinal_probabilities(torch.tensor([raw]))
    assert probabilities.shape == (1, len(raw) + 1)
    assert float(probabilities.min()) >= 0
    assert float(probabilities.sum()) == pytest.approx(1, abs=1e-5)


def test_what_each_kind_answers() -> None:
    tasks = config_of().tasks
    raw = {name: torch.randn(4, size, generator=torch.Generator().manual_seed(0)) for name, size in SIZES.items()}
    for name in ("colour", "year"):
        answer = activate(tasks[name], raw[name])
        assert answer.shape == (4, len(tasks[name].labels))
        torch.testing.assert_close(answer.sum(1), torch.ones(4))
    for name in ("audience", "sporty"):
        torch.testing.assert_close(activate(tasks[name], raw[name]), torch.sigmoid(raw[name]))
    torch.testing.assert_close(activate(tasks["price"], raw["price"]), raw["price"] * 5 + 20)
    unscaled = Task(kind="regression")
    torch.testing.assert_close(activate(unscaled, raw["price"]), raw["price"])


@torch.inference_mode()
def test_only_the_heads_asked_for_run() -> None:
    config = config_of()
    count = len(config.tasks)
    network = network_of(config, torch.ones(count, count) - torch.eye(count))
    ran: list[torch.nn.Module] = []
    for heads in (network.heads, *network.single_modality.heads):
        for layer in heads.layers:
            layer.register_forward_hook(lambda module, inputs, output: ran.append(module))
    inputs, present = tensors([item_of(config, ("image", "text"), np.random.default_rng(0))], config)
    everything = network(inputs, present)
    for asked in (["year"], ["price", "colour"], []):
        ran.clear()
        some = network(inputs, present, asked)
        assert list(some.fused) == asked
        assert len(ran) == 3 * len(asked), "the fused head and one a modality"
        for name in asked:
            torch.testing.assert_close(some.fused[name], everything.fused[name], rtol=1e-5, atol=1e-5)
            for modality in config.modalities:
                torch.testing.assert_close(some.single[modality][name], everything.single[modality][name])
