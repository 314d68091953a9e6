"""Which parameters are trained, and how fast each of them: the optimizer's groups."""

from __future__ import annotations

from typing import Any

from torch import nn

from model.config import TrainingConfig
from model.network.encoders import Encoder


def parameter_groups(network: nn.Module, training: TrainingConfig) -> list[dict[str, Any]]:
    """One group for each pace, and for what decays and what does not: biases and the scales of normalisation.

    A group's `pace` is its share of the learning rate; encoders say where it is not 1. Frozen parameters are in no
    group, so that the optimizer keeps nothing for them.
    """
    paces: dict[str, float] = {}
    for prefix, module in network.named_modules():
        if isinstance(module, Encoder):
            paces |= {f"{prefix}.{name}".lstrip("."): pace for name, pace in module.paces().items()}
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((paces.get(name, 1.0), parameter.dim() > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": training.weight_decay if decays else 0.0,
            "pace": pace,
            "lr": training.learning_rate * pace,
        }
        for (pace, decays), parameters in groups.items()
    ]
