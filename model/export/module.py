"""A bundle's network with its calibration inside, as one graph without data-dependent control flow."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.bundle import Bundle
from model.calibration import members_of, pattern_key, patterns_of
from model.network.fusion import Encoded
from model.network.multi_model import FUSED, mix
from model.predictor import build_network


class CalibratedNetwork(nn.Module):
    """What `Predictor` computes, from tensors to tensors, so that it can be traced.

    `Network.encode` picks the rows that have a modality, and so has another graph for each batch. Here every row is
    encoded and the missing ones are masked; all arithmetic is that of the network's own modules.
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

    def encode(self, inputs: Sequence[Tensor], present: Tensor) -> Encoded:
        """Encode every row of every modality, then hide the missing ones; the same result as `Network.encode`."""
        network = self.network
        pooled, tokens, masks = [], [], []
        for column, (name, encoder) in enumerate(zip(network.modalities, network.encoders, strict=True)):
            here = present[:, column]
            values = inputs[column]
            # Ones are a dark picture, or a text of one known token repeated: a missing row may hold numbers that no
            # encoder takes, such as token ids outside the vocabulary.
            values = torch.where(_beside(here, values), values, torch.ones_like(values))
            own, mask = encoder(values)
            own = network.shared_representation(name, own)
            own, summary = network.cross_modal(own, mask)
            if mask is None:
                mask = torch.ones(own.shape[:2], dtype=torch.bool, device=own.device)
            pooled.append(torch.where(_beside(here, summary), summary, 0.0))
            tokens.append(torch.where(_beside(here, own), own, 0.0))
            masks.append(mask & here[:, None])
        return Encoded(torch.stack(pooled, dim=1), tokens, masks, present)

    def forward(self, inputs: Sequence[Tensor], present: Tensor) -> tuple[Tensor, ...]:
        """Give each task's calibrated answers float32 [B, C], in the order of the config, then α [B, M].

        inputs: one tensor a modality, in the order of the config, as `preprocess.Batch` describes them; present: bool
        [B, M]. A row of `inputs` may hold anything where `present` is False. A row that has no modality at all is
        answered with NaN.
        """
        encoded = self.encode(inputs, present)
        fused, alpha = self.network.decode(encoded)
        single = self.network.alone(encoded)
        row = self.rows[(present.long() * self.bits).sum(1)]  # (B,)
        some = present.any(1, keepdim=True)  # (B, 1)
        outputs = []
        for position, (name, task) in enumerate(self.tasks.items()):
            raw = [fused[name] if member == FUSED else single[member][name] for member in self.members]
            answer = mix(task, raw, self.temperatures[position][row], self.beta[position][row])
            outputs.append(torch.where(some, answer, torch.nan))
        return *outputs, torch.where(some, alpha, torch.nan)


def _beside(here: Tensor, values: Tensor) -> Tensor:
    """Shape a flag a row, [B], so that it broadcasts over `values` [B, …]."""
    return here.reshape(-1, *[1] * (values.dim() - 1))
