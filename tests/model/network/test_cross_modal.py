"""Cross-modal learning: every modality goes through the same parameter objects."""

from __future__ import annotations

import numpy as np
import torch

from tests.model.making import config_of, item_of, network_of, tensors


def test_both_modalities_run_through_the_same_modules() -> None:
    config = config_of(blocks=2)
    network = network_of(config)
    calls: dict[str, list[int]] = {}
    for name, module in network.named_modules():
        if name.startswith("cross_modal"):
            module.register_forward_hook(lambda m, i, o, name=name: calls.setdefault(name, []).append(id(m)))
    inputs, present = tensors([item_of(config, ("image", "text"), np.random.default_rng(0))], config)
    network(inputs, present)
    for name in ("cross_modal", "cross_modal.blocks.0", "cross_modal.blocks.1", "cross_modal.pooling"):
        assert len(calls[name]) == 2, "once a modality"
        assert len(set(calls[name])) == 1


def test_every_shared_parameter_learns_from_each_modality_and_moves_both() -> None:
    config = config_of(blocks=1)
    network = network_of(config)
    generator = np.random.default_rng(1)
    inputs, present = tensors([item_of(config, ("image", "text"), generator) for _ in range(2)], config)
    # A shift of all keys alike changes no attention weight, so the biases of keys have no gradient.
    shared = {n: p for n, p in network.cross_modal.named_parameters() if not n.endswith(("qkv.bias", "kv.bias"))}
    for column in range(2):
        pooled = network.encode(inputs, present).pooled[:, column].square().sum()
        for name, gradient in zip(shared, torch.autograd.grad(pooled, list(shared.values())), strict=True):
            assert bool((gradient != 0).any()), (column, name)
    with torch.no_grad():
        before = network.encode(inputs, present).pooled
        for name, parameter in shared.items():
            saved = parameter.clone()
            parameter.add_(torch.randn_like(parameter))
            moved = (network.encode(inputs, present).pooled - before).abs().amax(2)
            assert bool((moved > 1e-6).all()), name
            parameter.copy_(saved)


def test_the_count_of_shared_parameters_does_not_grow_with_modalities() -> None:
    counts = {
        sum(p.numel() for p in network_of(config_of(modalities=names)).cross_modal.parameters())
        for names in (("image",), ("image", "text"), ("image", "text", "brand"))
    }
    assert len(counts) == 1
