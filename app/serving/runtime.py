"""What runs a bundle's network: the one interface behind which devices and libraries differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch

from app.intake.pool import usable_cores
from model.bundle import Bundle
from model.config import Config, TextModality
from model.predictor import Outputs, Predictor
from model.preprocess import PAD_ID, Item


class Runtime(Protocol):
    """A bundle's network on a device. Called by the engine's thread alone, from its making on."""

    device: str

    def __call__(self, items: Sequence[Item], tasks: Sequence[str] | None = None) -> Outputs:
        """One forward for a batch of prepared items. Blocks. `tasks`: the heads to run, None for all."""
        ...


MakeRuntime = Callable[[Bundle], Runtime]


class RuntimeUnavailable(RuntimeError):
    """The device that was asked for is not there; the message says what is."""


class TorchRuntime:
    """PyTorch, on the CPU or on the first CUDA device."""

    def __init__(self, bundle: Bundle, device: str = "auto", threads: int | None = None) -> None:
        """Build the network and load its weights.

        `device`: auto takes CUDA where there is one. `threads`: cores that one forward on the CPU may use, None for
        every core of the process. Raises RuntimeUnavailable for cuda without CUDA.
        """
        self.device = choose_device(device)
        torch.set_num_threads(threads or usable_cores())
        self._predictor = Predictor(bundle, self.device)

    def __call__(self, items: Sequence[Item], tasks: Sequence[str] | None = None) -> Outputs:
        """One forward for a batch of prepared items."""
        return self._predictor(items, tasks)


def choose_device(device: str) -> str:
    """The torch device for `auto`, `cpu` or `cuda`. Raises RuntimeUnavailable for cuda without CUDA."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise RuntimeUnavailable("device: cuda was asked for, and torch finds no CUDA device; use auto or cpu")
    return device


def warm_up(runtime: Runtime, config: Config, batch_sizes: Sequence[int]) -> None:
    """Run every batch size once, with full-length texts, so that no request pays for first-time work."""
    item = blank_item(config)
    for size in sorted(set(batch_sizes), reverse=True):
        runtime([item] * size)


def blank_item(config: Config) -> dict[str, np.ndarray]:
    """An item with every modality present: mid-grey images [H, W, 3], texts of `max_tokens` unknown words."""
    item: dict[str, np.ndarray] = {}
    for name, modality in config.modalities.items():
        if isinstance(modality, TextModality):
            item[name] = np.full(modality.max_tokens, PAD_ID + 1, dtype=np.int64)
        else:
            item[name] = np.full((modality.height, modality.width, 3), 128, dtype=np.uint8)
    return item


def item_length(item: Item) -> int:
    """Tokens of the item's longest text: what a batch is padded to. 0 for an item without text."""
    return max((value.shape[0] for value in item.values() if value.ndim == 1), default=0)
