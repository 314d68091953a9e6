"""Pixels as encoders take them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.config import ImageModality


class Normalise(nn.Module):
    """Pixels uint8 [B, H, W, 3] -> [B, 3, H, W], channels last, less the modality's mean and over its deviation.

    Pixels arrive as uint8 and are normalised here, so that a quarter of the bytes travel to the device; their
    [B, H, W, 3] layout is the channels-last memory format that convolutions are fastest in.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, modality: ImageModality) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(modality.mean).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(modality.std).view(1, 3, 1, 1) * 255, persistent=False)

    def forward(self, inputs: Tensor, dtype: torch.dtype) -> Tensor:
        """Normalise in fp32, whatever `dtype` the result is to have: bf16 would round the pixels' means."""
        x = inputs.permute(0, 3, 1, 2).to(self.mean.dtype)
        return ((x - self.mean) / self.std).to(dtype)
