"""Tokens from what image backbones give."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def image_tokens(features: Tensor, width: int) -> Tensor:
    """Features [B, N, width], [B, width, h, w] or [B, h, w, width] as tokens [B, N, width]."""
    if features.dim() == 3:
        return features
    # Where both ends are as wide, it is a map with its channels first, as those of nearly all networks are.
    if features.shape[1] == width:
        return features.flatten(2).transpose(1, 2)
    return features.flatten(1, 2)


def count_tokens(features: Any, width: int) -> int:
    """How many tokens `image_tokens` makes of a picture's features [1, …]; 0 where it can make none of them."""
    if not isinstance(features, Tensor) or features.dim() not in (3, 4):
        return 0
    if features.shape[-1] != width and not (features.dim() == 4 and features.shape[1] == width):
        return 0
    return features.numel() // width
