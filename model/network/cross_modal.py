"""Cross-modal learning: the same transformer blocks, and the same pooling, run on each modality's tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class TransformerBlock(nn.Module):
    """A pre-norm transformer block: self-attention, then a feed-forward network.

    Source: Vaswani et al., "Attention Is All You Need", 2017; norm first after Xiong et al., 2020.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.feedforward = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Transform tokens [B, N, d]; mask bool [B, N] is True at the tokens that may be attended to."""
        batch, count, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(batch, count, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, heads, N, d / heads)
        attend = None if mask is None else mask[:, None, None, :]
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=attend)
        x = x + self.dropout(self.out(y.transpose(1, 2).reshape(batch, count, width)))
        result: Tensor = x + self.dropout(self.feedforward(self.norm2(x)))
        return result


class AttentionPooling(nn.Module):
    """Learned-query attention over tokens: one vector a sample (one query, several heads)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query = nn.Parameter(torch.empty(heads, width // heads))
        nn.init.normal_(self.query, std=0.02)
        self.kv = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Pool tokens [B, N, d] to [B, d]; mask bool [B, N] is True at the tokens that count."""
        batch, count, width = x.shape
        kv = self.kv(self.norm(x)).view(batch, count, 2, self.heads, width // self.heads)
        k, v = kv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, heads, N, d / heads)
        query = self.query[None, :, None, :].expand(batch, -1, -1, -1).to(k.dtype)
        attend = None if mask is None else mask[:, None, None, :]
        pooled = functional.scaled_dot_product_attention(query, k, v, attn_mask=attend)  # (B, heads, 1, d / heads)
        result: Tensor = self.out(pooled.reshape(batch, width))
        return result


class CrossModal(nn.Module):
    """One set of parameters for all modalities: what it learns from one helps to read the others."""

    def __init__(self, width: int, heads: int, blocks: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(TransformerBlock(width, heads, dropout) for _ in range(blocks))
        self.pooling = AttentionPooling(width, heads)

    def forward(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Run one modality's tokens [B, N, d] through; returns the tokens and their pooled vector x_m [B, d]."""
        for block in self.blocks:
            x = block(x, mask)
        return x, self.pooling(x, mask)
