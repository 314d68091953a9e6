"""A bundle's network with its calibration inside, as one graph without data-dependent control flow."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.bundle import Bundle
from model.calibration import members_of, pattern_key, patterns_of
from model.network.multi_model import FUSED, mix
from model.predictor import build_network


class CalibratedNetwork(nn.Module):
    """What `Predictor` computes, from tensors to tensors, so that it can be traced.

    Every operation depends on shapes alone, so that one traced or captured graph fits every batch of a shape.
    """

    rows: Tensor
    bits: Tensor
    temperatures: Tensor
    beta: Tensor

    def __init__(self, bundle: Bundle) -> None:
        """Build the network on the CPU, in evaluation mode. Raises BundleError when the weights do not fit."""
        super().__init__()
        self.network = build_network(bundle)
        self.tasks = dict(bundle.config.tasks)
        patterns = patterns_of(bundle.config)
        members = members_of(bundle.config)
        names = list(bundle.config.modalities)
        # Where each pattern stands in the tables, by its bits. A row with nothing in it gets any pattern's numbers.
        rows = torch.zeros(1 << len(names), dtype=torch.int64)
        for row, pattern in enumerate(patterns):
            rows[sum(1 << names.index(name) for name in pattern)] = row
        entries = [
            [bundle.calibration.patterns[pattern_key(pattern)][task] for pattern in patterns] for task in self.tasks
        ]
        temperatures = [[[entry.temperatures.get(m, 1.0) for m in members] for entry in task] for task in entries]
        beta = [[[entry.beta.get(m, 0.0) for m in members] for entry in task] for task in entries]
        self.register_buffer("rows", rows)  # [2^M]
        self.register_buffer("bits", 1 << torch.arange(len(names)))  # [M]
        self.register_buffer("temperatures", torch.tensor(temperatures))  # [K, patterns, members]
        self.register_buffer("beta", torch.tensor(beta))  # [K, patterns, members]
        self.members = members
        self.eval()

    def forward(self, inputs: Sequence[Tensor | None], present: Tensor) -> tuple[Tensor, ...]:
        """Give each task's calibrated answers float32 [B, C], in the order of the config, then α [B, M].

        inputs: one tensor a modality, in the order of the config, as `preprocess.Batch` describes them, or None for one
        that no row has; present: bool [B, M]. A row of `inputs` may hold anything where `present` is False. A row that
        has no modality at all is answered with NaN.
        """
        named = zip(self.network.modalities, inputs, strict=True)
        encoded = self.network.encode_densely({name: values for name, values in named if values is not None}, present)
        fused, alpha = self.network.decode(encoded)
        single = self.network.alone(encoded)
        row = self.rows[(present.long() * self.bits).sum(1)]  # (B,)
        some = present.any(1, keepdim=True)  # (B, 1)
        outputs = []
        for position, (name, task) in enumerate(self.tasks.items()):
            # A modality that no row has gave no answers of its own, and has no weight in any row.
            raw = [
                fused[name] if member == FUSED else single.get(member, {}).get(name, torch.zeros_like(fused[name]))
                for member in self.members
            ]
            answer = mix(task, raw, self.temperatures[position][row], self.beta[position][row])
            outputs.append(answer.masked_fill(~some, torch.nan))
        return *outputs, alpha.masked_fill(~some, torch.nan)
