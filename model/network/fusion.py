"""Modality fusion: what the present modalities say together, as one vector z."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.config import NetworkConfig
from model.network.cross_modal import AttentionPooling, TransformerBlock


@dataclass
class Encoded:
    """What the encoders made of a batch.

    `pooled` [B, M, d], zero where a modality is missing; `tokens` and `masks`: per modality [B, N_m, d] and bool
    [B, N_m], False throughout where it is missing; `present` bool [B, M].
    """

    pooled: Tensor
    tokens: list[Tensor]
    masks: list[Tensor]
    present: Tensor

    def narrowed(self, present: Tensor) -> Encoded:
        """The same batch as if only the modalities in `present`, bool [B, M], had come; encoders need not run again."""
        present = present & self.present
        return Encoded(
            torch.where(present[..., None], self.pooled, torch.zeros_like(self.pooled)),
            self.tokens,
            [mask & present[:, m, None] for m, mask in enumerate(self.masks)],
            present,
        )

    def gathered(self, rows: Tensor, present: Tensor) -> Encoded:
        """One sample for each of `rows`, int64 [A], as if only what is in `present`, bool [A, M], had come with it.

        A sample may stand in several rows; none may have more than the sample has.
        """
        pooled = self.pooled.index_select(0, rows)
        return Encoded(
            pooled.masked_fill(~present[..., None], 0.0),
            [tokens.index_select(0, rows) for tokens in self.tokens],
            [mask.index_select(0, rows) & present[:, m, None] for m, mask in enumerate(self.masks)],
            present,
        )


class Fusion(nn.Module):
    """z [B, d] from the present modalities, and the mixing weights α [B, M] that made it.

    A learned stand-in takes a missing modality's place wherever a fusion has to see all of them at once.
    """

    def __init__(self, modalities: int, width: int) -> None:
        super().__init__()
        self.stand_in = nn.Parameter(torch.empty(modalities, width))
        nn.init.normal_(self.stand_in, std=0.02)

    def filled(self, encoded: Encoded) -> Tensor:
        """x̃ [B, M, d]: the pooled vectors, with the stand-in where a modality is missing."""
        return torch.where(encoded.present[..., None], encoded.pooled, self.stand_in.to(encoded.pooled.dtype))

    def forward(self, encoded: Encoded) -> tuple[Tensor, Tensor]:
        """Fuse; returns z [B, d] and α [B, M], which sums to 1 and is 0 where a modality is missing."""
        raise NotImplementedError


def uniform(present: Tensor) -> Tensor:
    """α of a fusion that has no weights of its own: equal over the present modalities, float [B, M]."""
    weights = present.float()
    return weights / weights.sum(1, keepdim=True).clamp(min=1)


class AlphaFusion(Fusion):
    """z = Σ α_m x_m, α = softmax over the present modalities of a gate on all x̃ and `present`.

    The gate starts at zero, so α starts uniform.
    """

    def __init__(self, modalities: int, width: int) -> None:
        super().__init__(modalities, width)
        self.gate = nn.Linear(modalities * (width + 1), modalities)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)

    def forward(self, encoded: Encoded) -> tuple[Tensor, Tensor]:
        """See Fusion.forward."""
        filled = self.filled(encoded)
        seen = torch.cat([filled.flatten(1), encoded.present.to(filled.dtype)], dim=1)
        scores = self.gate(seen).float().masked_fill(~encoded.present, float("-inf"))
        alpha = torch.softmax(scores, dim=1)
        z = (alpha.to(filled.dtype)[..., None] * encoded.pooled).sum(1)
        return z, alpha


class ConcatFusion(Fusion):
    """z = W [x̃_1; …; x̃_M] + b."""

    def __init__(self, modalities: int, width: int) -> None:
        super().__init__(modalities, width)
        self.mix = nn.Linear(modalities * width, width)

    def forward(self, encoded: Encoded) -> tuple[Tensor, Tensor]:
        """See Fusion.forward; α is uniform."""
        return self.mix(self.filled(encoded).flatten(1)), uniform(encoded.present)


class GatedFusion(Fusion):
    """Gated multimodal unit: z = Σ g_m ⊙ tanh(W_m x_m), g a softmax over modalities in each channel.

    Source: Arevalo et al., "Gated Multimodal Units for Information Fusion", 2017 (the form for M modalities).
    """

    def __init__(self, modalities: int, width: int) -> None:
        super().__init__(modalities, width)
        self.content = nn.ModuleList(nn.Linear(width, width) for _ in range(modalities))
        self.gate = nn.Linear(modalities * width, modalities * width)

    def forward(self, encoded: Encoded) -> tuple[Tensor, Tensor]:
        """See Fusion.forward; α is the mean gate over the channels."""
        filled = self.filled(encoded)
        content = torch.stack([torch.tanh(layer(filled[:, m])) for m, layer in enumerate(self.content)], dim=1)
        scores = self.gate(filled.flatten(1)).view_as(content).float()
        gate = torch.softmax(scores.masked_fill(~encoded.present[..., None], float("-inf")), dim=1)
        return (gate.to(content.dtype) * content).sum(1), gate.mean(2)


class CrossAttentionFusion(Fusion):
    """All tokens of the present modalities attend to each other, then a learned query pools them."""

    def __init__(self, modalities: int, width: int, heads: int, dropout: float) -> None:
        super().__init__(modalities, width)
        self.block = TransformerBlock(width, heads, dropout)
        self.pooling = AttentionPooling(width, heads)

    def forward(self, encoded: Encoded) -> tuple[Tensor, Tensor]:
        """See Fusion.forward; α is uniform."""
        tokens = torch.cat([self.filled(encoded), *encoded.tokens], dim=1)
        # The stand-ins are real tokens too: they say that something is missing.
        mask = torch.cat([torch.ones_like(encoded.present), *encoded.masks], dim=1)
        return self.pooling(self.block(tokens, mask), mask), uniform(encoded.present)


def build_fusion(network: NetworkConfig, modalities: int) -> Fusion:
    """Build the fusion that the config names."""
    if network.fusion == "alpha":
        return AlphaFusion(modalities, network.width)
    if network.fusion == "concat":
        return ConcatFusion(modalities, network.width)
    if network.fusion == "gated":
        return GatedFusion(modalities, network.width)
    return CrossAttentionFusion(modalities, network.width, network.heads, network.dropout)
