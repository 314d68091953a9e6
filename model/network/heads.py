"""Heads y_k = g(W_k t'_k + b_k): one a task, and what its raw outputs mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.config import Task


def output_size(task: Task) -> int:
    """How many raw outputs a task's head has."""
    if task.kind in ("multiclass", "multilabel"):
        return len(task.labels)
    if task.kind == "ordinal":
        return len(task.labels) - 1
    return 1


class Heads(nn.Module):
    """A linear head a task, each reading the vector of its own task."""

    def __init__(self, tasks: Mapping[str, Task], width: int) -> None:
        super().__init__()
        self.index = {name: position for position, name in enumerate(tasks)}
        self.layers = nn.ModuleList(nn.Linear(width, output_size(task)) for task in tasks.values())

    def forward(self, t: Tensor, tasks: Iterable[str]) -> dict[str, Tensor]:
        """Raw outputs [B, size] of the named tasks from t' [B, len(tasks), width], in the same order."""
        return {name: self.layers[self.index[name]](t[:, row]).float() for row, name in enumerate(tasks)}

    def side_by_side(self, t: Tensor) -> Tensor:
        """Every task's raw outputs from one vector [B, width] for all of them: [B, Σ size], by one product."""
        weight = torch.cat([layer.get_parameter("weight") for layer in self.layers])
        bias = torch.cat([layer.get_parameter("bias") for layer in self.layers])
        return functional.linear(t, weight, bias).float()


def ordinal_probabilities(raw: Tensor) -> Tensor:
    """Class probabilities [..., C] from conditional logits [..., C - 1].

    Logit j says how likely the value lies above class j, given that it is not below it; the probabilities are
    rank-consistent by construction. Source: Shi, Cao and Raschka, "Deep Neural Networks for Rank-Consistent Ordinal
    Regression Based on Conditional Probabilities" (CORN), 2021.
    """
    above = torch.cumprod(torch.sigmoid(raw), dim=-1)  # (..., C - 1): P(y > j)
    ones = torch.ones_like(above[..., :1])
    return torch.cat([ones, above], dim=-1) - torch.cat([above, torch.zeros_like(ones)], dim=-1)


def activate(task: Task, raw: Tensor) -> Tensor:
    """Turn raw outputs [..., size] into answers, float [..., C].

    multiclass and ordinal: probabilities that sum to 1; multilabel and binary: independent probabilities;
    regression: the value in the unit of the data.
    """
    if task.kind == "multiclass":
        return torch.softmax(raw, dim=-1)
    if task.kind == "ordinal":
        return ordinal_probabilities(raw)
    if task.kind == "regression":
        mean, deviation = task.scale or (0.0, 1.0)
        return raw * deviation + mean
    return torch.sigmoid(raw)
