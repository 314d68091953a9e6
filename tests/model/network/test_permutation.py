"""Permuting the tasks of the config, and T and the weights with them, permutes the answers and nothing else."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.network import Network
from tests.model.making import config_of, item_of, network_of, patterns, related, tensors
from tests.support.tiny import tiny_document

TASKS = list(tiny_document()["tasks"])


def permuted_state(network: Network, order: list[int]) -> dict[str, torch.Tensor]:
    state = {}
    for name, value in network.state_dict().items():
        if name in ("task_relation.T", "task_relation.theta"):
            value = value[order][:, order]
        elif name in ("task_relation.U", "task_relation.bias", "task_relation.gamma"):
            value = value[order]
        state[name] = value
    for prefix in ("heads.layers", *(f"single_modality.heads.{m}.layers" for m in range(len(network.modalities)))):
        for new, old in enumerate(order):
            for part in ("weight", "bias"):
                state[f"{prefix}.{new}.{part}"] = network.state_dict()[f"{prefix}.{old}.{part}"]
    return state


@settings(deadline=None, max_examples=8)
@given(st.permutations(range(len(TASKS))))
@torch.inference_mode()
def test_permuting_tasks_permutes_answers(order: list[int]) -> None:
    config = config_of()
    relation = related(len(TASKS), (0, 1), (0, 4), (2, 3), (4, 2))
    network = network_of(config, relation)
    tasks = tiny_document()["tasks"]
    other_config = config_of(tasks={TASKS[k]: tasks[TASKS[k]] for k in order})
    other = network_of(other_config, relation[order][:, order], seed=9)
    other.load_state_dict(permuted_state(network, order))
    generator = np.random.default_rng(0)
    inputs, present = tensors([item_of(config, p, generator) for p in patterns(config)], config)
    one, two = network(inputs, present), other(inputs, present)
    assert list(two.fused) == [TASKS[k] for k in order]
    torch.testing.assert_close(one.alpha, two.alpha)
    for task in TASKS:
        torch.testing.assert_close(one.fused[task], two.fused[task], rtol=1e-5, atol=1e-5)
        for modality in config.modalities:
            torch.testing.assert_close(one.single[modality][task], two.single[modality][task], rtol=1e-5, atol=1e-5)
