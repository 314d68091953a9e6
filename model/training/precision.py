"""Which arithmetic trains fastest on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

import torch

from model.config import TrainingConfig


def choose_precision(
    training: TrainingConfig, device: torch.device, step: Callable[[bool], None]
) -> Literal["fp32", "bf16"]:
    """What the config says; for `auto`, bf16 on CUDA and whatever a few trial steps show to be faster on the CPU.

    step: runs one forward and backward pass, in bf16 when its argument is true.
    """
    if training.precision != "auto":
        return training.precision
    if device.type == "cuda":
        return "bf16"
    times = {}
    for half in (False, True):
        step(half)  # the first pass chooses kernels and allocates
        start = time.perf_counter()
        step(half)
        times[half] = time.perf_counter() - start
    return "bf16" if times[True] < times[False] else "fp32"
