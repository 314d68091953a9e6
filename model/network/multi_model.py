"""Multi-model fusion M = Σ β_i M_i: the fused network beside a cheap network for each modality alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from model.config import FUSED, Task
from model.network.heads import Heads, activate

__all__ = ["FUSED", "LEAST_PROBABILITY", "SingleModalityNetworks", "entropy_range", "mix", "temper"]

# Below it a probability counts as this much, or a logarithm of 0 would spoil the others.
LEAST_PROBABILITY = 1e-12


class SingleModalityNetworks(nn.Module):
    """Auxiliary heads: for each modality, every task answered from that modality's pooled vector alone."""

    def __init__(self, modalities: Sequence[str], tasks: Mapping[str, Task], width: int, task_width: int) -> None:
        super().__init__()
        self.index = {name: position for position, name in enumerate(modalities)}
        self.bodies = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, task_width), nn.GELU()) for _ in modalities
        )
        self.heads = nn.ModuleList(Heads(tasks, task_width) for _ in modalities)

    def forward(self, modality: str, pooled: Tensor, tasks: Sequence[str]) -> dict[str, Tensor]:
        """Raw outputs [B, size] of the named tasks from one modality's pooled vector [B, d]."""
        position = self.index[modality]
        t = self.bodies[position](pooled)[:, None].expand(-1, len(tasks), -1)
        outputs: dict[str, Tensor] = self.heads[position](t, tasks)
        return outputs

    def side_by_side(self, modality: str, pooled: Tensor) -> Tensor:
        """Raw outputs of all tasks, one behind the other: [B, Σ size]."""
        position = self.index[modality]
        heads = self.heads[position]
        assert isinstance(heads, Heads)
        return heads.side_by_side(self.bodies[position](pooled))


def mix(task: Task, raw: Iterable[Tensor], temperatures: Tensor, beta: Tensor) -> Tensor:
    """The convex mix Σ β_i M_i of the members' answers, float [B, C].

    `raw`: each member's raw outputs [B, size]; `temperatures` and `beta`: [B, members], a row of β sums to 1 and is
    0 at members whose modality is missing.
    """
    total: Tensor | None = None
    for position, outputs in enumerate(raw):
        scaled = outputs if task.kind == "regression" else outputs / temperatures[:, position, None]
        weight = beta[:, position, None]
        # A member without weight may hold anything, even a NaN; 0 · NaN would let it through.
        part = (weight * activate(task, scaled)).masked_fill(weight <= 0, 0.0)
        total = part if total is None else total + part
    if total is None:
        raise ValueError("a mix needs at least one member")
    return total


def temper(answers: Tensor, level: Tensor | float, slope: Tensor | float) -> Tensor:
    """Class probabilities at a temperature of their own, float [B, C]: p^(1/T), normalised.

    T = exp(level + slope · H(p) / log C), where H is the entropy: one temperature makes all answers equally bolder or
    shyer, but a mix can be too sure where it hesitates and not sure enough where it does not. The most likely class
    stays the same. At level and slope 0 nothing changes. answers: float [B, C]; level, slope: [B, 1], or numbers.
    Source: Balanya, Maroñas and Ramos, "Adaptive Temperature Scaling for Robust Calibration of Deep Neural Networks",
    2022; theirs is linear in log H.
    """
    logs = answers.clamp(min=LEAST_PROBABILITY).log()
    entropy = -(answers * logs).sum(-1, keepdim=True) / entropy_range(answers.shape[-1])
    temperature = torch.as_tensor(level + slope * entropy).exp()
    return torch.softmax(logs / temperature, dim=-1)


def entropy_range(classes: int) -> float:
    """The entropy of the answer that knows nothing, log C; 1 where there is no choice, and so no entropy."""
    return math.log(classes) if classes > 1 else 1.0
