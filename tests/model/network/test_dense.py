"""The dense forward: the answers of the sparse one, by operations that a device can be handed as one graph."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from model.network import Network
from tests.model.making import FUSIONS, MODALITIES, config_of, item_of, network_of, patterns, related, tensors
from tests.support.on_device import StaysOnDevice


def build(fusion: str = "alpha", modalities: tuple[str, ...] = ("image", "text")) -> Network:
    config = config_of(fusion=fusion, modalities=modalities)
    return network_of(config, related(len(config.tasks), (0, 1), (1, 3), (4, 0)))


def draw(fusion: str, modalities: tuple[str, ...], seed: int = 0) -> tuple[dict[str, Tensor], Tensor]:
    """Two rows of every pattern."""
    config = config_of(fusion=fusion, modalities=modalities)
    generator = np.random.default_rng(seed)
    return tensors([item_of(config, pattern, generator) for pattern in patterns(config) * 2], config)


@pytest.mark.parametrize("modalities", MODALITIES)
@pytest.mark.parametrize("fusion", FUSIONS)
@torch.inference_mode()
def test_it_encodes_as_the_sparse_way_does(fusion: str, modalities: tuple[str, ...]) -> None:
    network = build(fusion, modalities)
    inputs, present = draw(fusion, modalities)
    sparse, dense = network.encode(inputs, present), network.encode_densely(inputs, present)
    torch.testing.assert_close(dense.pooled, sparse.pooled, rtol=0, atol=1e-5)
    for found, expected in zip(dense.masks, sparse.masks, strict=True):
        assert torch.equal(found, expected)
    for (found, alpha), (expected, expected_alpha) in [(network.decode(dense), network.decode(sparse))]:
        torch.testing.assert_close(alpha, expected_alpha, rtol=0, atol=1e-5)
        for task, values in found.items():
            torch.testing.assert_close(values, expected[task], rtol=0, atol=1e-5)


@pytest.mark.parametrize("fusion", FUSIONS)
@torch.inference_mode()
def test_a_modality_that_is_left_out_is_one_that_every_row_lacks(fusion: str) -> None:
    network = build(fusion)
    inputs, _ = draw(fusion, ("image", "text"))
    rows = len(inputs["image"])
    present = torch.tensor([[True, False]]).expand(rows, 2)
    whole = network.encode_densely(inputs, present)
    without = network.encode_densely({"image": inputs["image"]}, present)
    for task, values in network.decode(without)[0].items():
        torch.testing.assert_close(values, network.decode(whole)[0][task], rtol=0, atol=1e-5)
    assert set(network.alone(without)) == {"image"}


@pytest.mark.parametrize("modalities", MODALITIES)
@pytest.mark.parametrize("fusion", FUSIONS)
@torch.inference_mode()
def test_no_operation_depends_on_the_values_or_on_the_host(fusion: str, modalities: tuple[str, ...]) -> None:
    """Tensors of the meta device have shapes and no values: what needs a value, or the host, fails there."""
    network = build(fusion, modalities).to("meta")
    inputs, present = draw(fusion, modalities)
    meta, present = {name: values.to("meta") for name, values in inputs.items()}, present.to("meta")
    with pytest.raises((RuntimeError, NotImplementedError)):  # the sparse way looks at `present`
        network.encode(meta, present)
    with StaysOnDevice([*network.parameters(), *network.buffers(), *meta.values(), present]):
        encoded = network.encode_densely(meta, present)
        fused, _ = network.decode(encoded)
        network.alone(encoded)
    assert all(values.shape[0] == len(present) for values in fused.values())


def test_the_check_for_operations_of_the_host_can_fail() -> None:
    there = torch.zeros(3, 3, device="meta")
    with StaysOnDevice([there]):
        _ = there[:, 1] + 1
        with pytest.raises(AssertionError, match="host"):
            there[:, [0, 2]]


@torch.inference_mode()
def test_folding_keeps_the_answers_and_leaves_no_norm_behind() -> None:
    network = build()
    inputs, present = draw("alpha", ("image", "text"))
    before = network.decode(network.encode_densely(inputs, present))[0]
    network.fold()
    after = network.decode(network.encode_densely(inputs, present))[0]
    for task, values in before.items():
        torch.testing.assert_close(after[task], values, rtol=1e-4, atol=1e-4)
    assert not [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]


@pytest.mark.parametrize("fusion", FUSIONS)
@torch.inference_mode()
def test_weights_in_bf16_give_answers_in_fp32_that_are_close(fusion: str) -> None:
    network = build(fusion)
    inputs, present = draw(fusion, ("image", "text"))
    before = network.decode(network.encode_densely(inputs, present))[0]
    network.fold(torch.bfloat16)
    after, alpha = network.decode(network.encode_densely(inputs, present))
    assert alpha.dtype == torch.float32
    for task, values in before.items():
        assert after[task].dtype == torch.float32
        difference = (after[task] - values).norm() / values.norm()
        assert 0 < difference < 0.1, task
