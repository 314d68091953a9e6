"""What a backbone's forward costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode


def multiplications(forward: Callable[[], Any]) -> tuple[Any, float]:
    """What `forward` gives, and how many multiplications it takes; on the meta device nothing is computed."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        result = forward()
    return result, counter.get_total_flops() / 2
