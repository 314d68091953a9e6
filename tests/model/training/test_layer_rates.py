"""The optimizer's groups: every trained parameter once, at its own pace, and nothing of what is frozen."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from model.config import Config, parse_config
from model.network import Network
from model.network.encoders import resolve_encoders
from model.training.layer_rates import parameter_groups
from model.training.learner import make_optimizer
from tests.support.backbones import named_document, untrained


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
    optimizer = make_optimizer(network, config)
    count = sum(len(group["params"]) for group in optimizer.param_groups)
    assert count == sum(parameter.requires_grad for parameter in network.parameters()) == len(found)


def test_a_step_moves_a_layer_by_its_rate() -> None:
    """Adam's first step is as long as the rate, whatever the gradient."""
    network, config = build({}, {"layer_decay": 0.1})
    optimizer = make_optimizer(network, config)
    name = "encoders.1.backbone.encoder.layer.{}.output.dense.bias"
    before = {layer: network.get_parameter(name.format(layer)).detach().clone() for layer in (1, 2)}
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    steps = {
        layer: float((network.get_parameter(name.format(layer)) - values).detach().abs().max())
        for layer, values in before.items()
    }
    assert steps == pytest.approx({1: 0.1 * config.training.learning_rate, 2: config.training.learning_rate}, rel=1e-3)


def test_weights_decay_and_biases_do_not() -> None:
    network, config = build({}, {})
    for group in parameter_groups(network, config.training):
        dimensions = {parameter.dim() > 1 for parameter in group["params"]}
        assert dimensions == {group["weight_decay"] > 0}
