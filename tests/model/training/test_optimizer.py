"""The optimizer: every trained parameter once, by what it is, at its own pace, and nothing of what is frozen."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from model.config import Config, parse_config
from model.network import Network
from model.network.encoders import resolve_encoders
from model.training.optimizer import Optimizer, matrices, parameter_groups
from tests.support.backbones import named_document, untrained
from tests.support.tiny import tiny_document


def build(image: dict[str, Any], text: dict[str, Any]) -> tuple[Network, Config]:
    document = named_document(
        {"height": 32, "width": 32, "encoder": untrained("timm", "test_convnext", **image)},
        {"encoder": untrained("transformers", "bert", **text)},
    )
    config = resolve_encoders(parse_config(document))
    torch.manual_seed(0)
    return Network(config, {"text": 40}), config


def paces(network: Network, config: Config) -> dict[str, float]:
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    groups = parameter_groups(network, config.training)
    found = [(names[id(parameter)], group["pace"]) for group in groups for parameter in group["params"]]
    assert len(found) == len(dict(found)), "each parameter is in one group"
    return dict(found)


def test_each_layer_has_its_pace_and_the_rest_of_the_network_the_whole() -> None:
    network, config = build({"layer_decay": 0.5}, {"learning_rate": 0.2, "layer_decay": 0.1})
    found = paces(network, config)
    assert set(found) == {name for name, _ in network.named_parameters()}
    assert found["encoders.1.backbone.encoder.layer.2.output.dense.weight"] == pytest.approx(0.2)
    assert found["encoders.1.backbone.encoder.layer.1.output.dense.weight"] == pytest.approx(0.02)
    stem = found["encoders.0.backbone.stem.0.weight"]
    last = found["encoders.0.backbone.stages.3.blocks.0.mlp.fc1.weight"]
    assert 0 < stem < last <= 1
    assert {pace for name, pace in found.items() if not name.startswith("encoders.")} == {1.0}


def test_what_is_frozen_is_in_no_group() -> None:
    network, config = build({"freeze": "all"}, {"freeze": 1})
    found = paces(network, config)
    assert not [name for name in found if name.startswith("encoders.0.")]
    assert not [name for name in found if ".embeddings." in name or ".layer.0." in name]
    assert [name for name in found if ".layer.1." in name]
    assert sum(parameter.requires_grad for parameter in network.parameters()) == len(found)
    assert not {name for name in matrices(network) if name.startswith("encoders.")}


def test_a_step_moves_a_layer_by_its_rate() -> None:
    """Adam's first step is as long as the rate, whatever the gradient."""
    network, config = build({}, {"layer_decay": 0.1})
    optimizer = Optimizer(network, config.training)
    name = "encoders.1.backbone.encoder.layer.{}.output.dense.bias"
    before = {layer: network.get_parameter(name.format(layer)).detach().clone() for layer in (1, 2)}
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step(config.training.learning_rate)
    steps = {
        layer: float((network.get_parameter(name.format(layer)) - values).detach().abs().max())
        for layer, values in before.items()
    }
    assert steps == pytest.approx({1: 0.1 * config.training.learning_rate, 2: config.training.learning_rate}, rel=1e-3)


def small(**training: Any) -> tuple[Network, Config]:
    """A network of the project's own encoders, laid out as training lays it out."""
    config = parse_config(tiny_document(training=training))
    torch.manual_seed(0)
    network = Network(config, {"text": 40})
    return network.to(memory_format=torch.channels_last), config  # type: ignore[call-overload]  # the stub lacks it


def with_gradients(network: Network, seed: int) -> None:
    torch.manual_seed(seed)
    for parameter in network.parameters():
        parameter.grad = torch.randn_like(parameter)


def test_muon_takes_the_matrices_that_begin_at_random_and_no_heads() -> None:
    network, config = small()
    chosen = matrices(network)
    assert {"encoders.0.stem.0.weight", "encoders.1.bert.encoder.layer.0.output.dense.weight"} <= set(chosen)
    assert not [name for name in chosen if "heads" in name or "embeddings" in name or "norm" in name.lower()]
    groups = parameter_groups(network, config.training, chosen)
    assert sum(len(group["params"]) for group in groups) + len(chosen) == len(list(network.parameters()))


@pytest.mark.parametrize("contiguous", [False, True], ids=["gradients laid out as weights", "otherwise"])
def test_a_step_of_muon_is_a_rotation_twice_as_long_as_adams_would_be(contiguous: bool) -> None:
    network, config = small(weight_decay=0.0)
    optimizer = Optimizer(network, config.training)
    chosen = matrices(network)
    before = {name: weight.detach().clone() for name, weight in chosen.items()}
    with_gradients(network, 1)
    if contiguous:
        for weight in chosen.values():
            assert weight.grad is not None
            weight.grad = weight.grad.contiguous()
    optimizer.step(0.01)
    for name, weight in chosen.items():
        assert weight.grad is not None
        moved = (weight.detach() - before[name]).flatten(1)
        gradient = weight.grad.flatten(1)
        # U Vᵀ of the gradient U S Vᵀ, up to what a few steps of Newton and Schulz leave: singular values around 1.
        u, _, v = torch.linalg.svd(gradient, full_matrices=False)
        along = (u.T @ -moved @ v.T).diagonal() / (0.02 * 0.2 * max(moved.shape) ** 0.5)
        assert along.min() > 0.5, name
        assert along.max() < 1.3, name


def test_weights_and_threads_change_nothing_and_a_resumed_run_goes_on() -> None:
    network, config = small()
    optimizer = Optimizer(network, config.training)
    twin = copy.deepcopy(network)
    other = Optimizer(twin, config.training, parts=3)
    for seed in (1, 2):
        with_gradients(network, seed)
        with_gradients(twin, seed)
        optimizer.step(0.01)
        other.step(0.01)
    third = copy.deepcopy(twin)
    resumed = Optimizer(third, config.training, parts=2)
    resumed.load_state_dict(copy.deepcopy(other.state_dict()))
    for each, way in ((network, optimizer), (twin, other), (third, resumed)):
        with_gradients(each, 3)
        way.step(0.01)
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter, twin.get_parameter(name), rtol=0, atol=0)
        torch.testing.assert_close(parameter, third.get_parameter(name), rtol=0, atol=0)


def test_without_muon_everything_is_adamws() -> None:
    network, config = small(optimizer="adamw", weight_decay=0.0)
    before = {name: weight.detach().clone() for name, weight in matrices(network).items()}
    with_gradients(network, 1)
    Optimizer(network, config.training).step(0.01)
    for name, weight in matrices(network).items():
        # Adam's first step is as long as the rate in every entry.
        torch.testing.assert_close(
            (weight.detach() - before[name]).abs(), torch.full_like(weight, 0.01), rtol=1e-3, atol=0
        )


def test_weights_decay_and_biases_do_not() -> None:
    network, config = build({}, {})
    for group in parameter_groups(network, config.training):
        dimensions = {parameter.dim() > 1 for parameter in group["params"]}
        assert dimensions == {group["weight_decay"] > 0}
