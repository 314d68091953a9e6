"""Familiarity: how far what an encoder makes of an input lies from what it made of the training inputs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.network.fusion import Encoded


def features(encoded: Encoded, column: int) -> Tensor:
    """What distances are taken of: an input's pooled vector x_m and the mean of its tokens, float [B, 2 d].

    They are the input's own, whatever else its sample has. Rows that lack the modality hold nothing of use.
    """
    tokens = encoded.tokens[column].float()
    counted = encoded.masks[column][..., None].float()
    mean = (tokens * counted).sum(1) / counted.sum(1).clamp(min=1)
    return torch.cat([encoded.pooled[:, column].float(), mean], dim=1)


class RelativeDistance(nn.Module):
    """One modality's relative Mahalanobis distance: to the nearest group of training inputs, less that to all of them.

    Source: Ren et al., "A Simple Fix to Mahalanobis Distance for Improving Near-OOD Detection", 2021; with clusters in
    the place of classes, after Sehwag, Chiang and Mittal, "SSD: A Unified Framework for Self-Supervised Outlier
    Detection", 2021. In a basis in which the covariance within groups is the unit matrix and that of all is diagonal,
    both are sums of squares.
    """

    center: Tensor
    basis: Tensor
    groups: Tensor
    half_norms: Tensor
    weights: Tensor

    def __init__(self, groups: int, width: int) -> None:
        """Room for the statistics, which `fit` or a bundle's weights fill; width: of the features, 2 d."""
        super().__init__()
        self.register_buffer("center", torch.zeros(width))
        self.register_buffer("basis", torch.zeros(width, width))
        self.register_buffer("groups", torch.zeros(groups, width))  # their means, in the basis
        self.register_buffer("half_norms", torch.zeros(groups))
        self.register_buffer("weights", torch.zeros(width))  # 1 / variance of all, in the basis

    def forward(self, values: Tensor) -> Tensor:
        """Distances float [B] of features [B, width]; the larger, the stranger."""
        z = (values - self.center) @ self.basis  # (B, width)
        # Only which group is nearest is told by products: in bf16, a distance that was told so would drown in rounding.
        nearest = (z @ self.groups.T - self.half_norms).argmax(1)
        apart = z - self.groups.index_select(0, nearest)
        distance: Tensor = (apart * apart).sum(1) - (z * z * self.weights).sum(1)
        return distance


class Familiarity(nn.Module):
    """A relative distance for each modality."""

    def __init__(self, groups: Sequence[int], width: int) -> None:
        """`groups`: of each modality, in the order of the config; `width`: d, the network's common width."""
        super().__init__()
        self.inputs = nn.ModuleList(RelativeDistance(count, 2 * width) for count in groups)

    def forward(self, encoded: Encoded) -> Tensor:
        """Distances float [B, M], 0 where a modality is missing."""
        distances = torch.stack([one(features(encoded, m)) for m, one in enumerate(self.inputs)], dim=1)
        return distances.masked_fill(~encoded.present, 0.0)
