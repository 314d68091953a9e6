"""A backbone's layers, counted from its input: which are frozen, and how far from the answers each one is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import nn

from model.network.encoders.errors import BackboneError


def number_layers(backbone: nn.Module) -> dict[str, int]:
    """Parameter -> its layer: 0 what stands before the blocks, 1 to n the blocks, n also what stands behind them.

    The blocks are the list of modules that holds the most parameters and does not lie in another.
    """
    lists = [
        (name, module)
        for name, module in backbone.named_modules()
        if isinstance(module, (nn.ModuleList, nn.Sequential)) and len(module) and name
    ]
    outer = [(name, module) for name, module in lists if not any(name.startswith(other + ".") for other, _ in lists)]
    sizes = {name: sum(parameter.numel() for parameter in module.parameters()) for name, module in outer}
    names = [name for name, _ in backbone.named_parameters()]
    if not sizes:
        return dict.fromkeys(names, 0)
    prefix = max(sizes, key=lambda name: sizes[name]) + "."
    layers, last = {}, 0
    for name in names:
        if name.startswith(prefix):
            last = int(name[len(prefix) :].split(".", 1)[0]) + 1
        layers[name] = last
    return layers


def freeze(backbone: nn.Module, stages: Mapping[str, int], count: int | Literal["all"]) -> list[nn.Module]:
    """Let the first `count` stages, and what stands before them, keep their weights; `stages` as of `number_layers`.

    Returns the modules, none of them inside another, that nothing is left to train in: they are to stay in evaluation
    mode, in which they drop nothing out and move no statistics. Raises BackboneError when there are not so many stages.
    """
    if count == 0:
        return []
    last = max(stages.values(), default=0)
    if count != "all" and count > last:
        raise BackboneError(f"freeze: it has {last} stages, not {count}; all freezes every one")
    for name, parameter in backbone.named_parameters():
        if count == "all" or stages[name] <= count:
            parameter.requires_grad_(False)
    return _still(backbone)


def _still(module: nn.Module) -> list[nn.Module]:
    parameters = list(module.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        return [module]
    return [found for child in module.children() for found in _still(child)]
