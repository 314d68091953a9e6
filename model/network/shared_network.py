"""Shared network h = f(W z + b): the trunk that every task reads from (hard parameter sharing)."""

from __future__ import annotations

from torch import Tensor, nn


class SharedNetwork(nn.Module):
    """A linear layer and residual feed-forward blocks. Source: Caruana, "Multitask Learning", 1997."""

    def __init__(self, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.input = nn.Linear(width, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, 2 * width),
                nn.GELU(),
                nn.Dropout(dropout),
                nn.Linear(2 * width, width),
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, z: Tensor) -> Tensor:
        """Transform z [B, d] to h [B, d]."""
        h = self.input(z)
        for block in self.blocks:
            h = h + block(h)
        normalised: Tensor = self.norm(h)
        return normalised
