"""An exponential moving average of a network's weights: it answers better than the last step's weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class EMA:
    """Averages parameters and buffers. Source: Tarvainen and Valpola, "Mean teachers", 2017."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.values = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the network's present weights; the average is shorter in the first steps."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        averages: list[Tensor] = []
        currents: list[Tensor] = []
        for name, value in network.state_dict().items():
            if value.dtype.is_floating_point:
                averages.append(self.values[name])
                currents.append(value.detach())
            else:
                self.values[name].copy_(value)
        torch._foreach_lerp_(averages, currents, 1 - decay)
