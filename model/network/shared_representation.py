"""Shared representation x = W s + b: every modality's tokens brought to one common width."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SharedRepresentation(nn.Module):
    """One projection a modality into width d, plus a learned embedding that tells the modalities apart."""

    def __init__(self, widths: dict[str, int], width: int) -> None:
        super().__init__()
        # A module's child may not have a dot in its name, a modality may: so lists, in the order of the config.
        self.index = {name: position for position, name in enumerate(widths)}
        self.projections = nn.ModuleList(nn.Linear(size, width) for size in widths.values())
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in widths)
        self.embedding = nn.Parameter(torch.empty(len(widths), width))
        nn.init.normal_(self.embedding, std=0.02)

    def forward(self, name: str, tokens: Tensor) -> Tensor:
        """Project tokens [B, N, c] of one modality to [B, N, d]."""
        position = self.index[name]
        projected: Tensor = self.norms[position](self.projections[position](tokens))
        return projected + self.embedding[position]
