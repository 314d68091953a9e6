"""PyTorch, eager: the reference that the other runtimes are measured against."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from app.serving.runtime import Later, Pending, RuntimeUnavailable
from app.threads import usable_cores
from model.bundle import Bundle
from model.predictor import Predictor
from model.preprocess import Item, collate


class TorchRuntime:
    """PyTorch on the CPU or on the first CUDA device, in fp32."""

    name = "torch"
    precision = "fp32"
    in_flight = 1

    def __init__(self, bundle: Bundle, device: str = "auto", threads: int | None = None) -> None:
        """Build the network and load its weights.

        `device`: auto takes CUDA where there is one. `threads`: cores that one forward on the CPU may use, None for
        every core of the process. Raises RuntimeUnavailable for cuda without CUDA.
        """
        self.device = choose_device(device)
        torch.set_num_threads(threads or usable_cores())
        self._predictor = Predictor(bundle, self.device)

    def start(self, items: Sequence[Item], tasks: Sequence[str] | None = None) -> Pending:
        """Collate; the forward runs in `result`."""
        return Later(partial(self._predictor.run, collate(items, self._predictor.config), tasks))


def choose_device(device: str) -> str:
    """The torch device for `auto`, `cpu` or `cuda`. Raises RuntimeUnavailable for cuda without CUDA."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise RuntimeUnavailable("device: cuda was asked for, and torch finds no CUDA device; use auto or cpu")
    return device
