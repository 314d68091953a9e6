"""What runs a bundle's network: the one interface behind which devices and libraries differ."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from model.bundle import Bundle
from model.config import Config, TextModality
from model.outputs import Outputs
from model.preprocess import Item, Narrowed, some_token


class Pending(Protocol):
    """A batch on its way through a runtime."""

    def result(self) -> Outputs:
        """The batch's outputs. Blocks until they are there; called once."""
        ...


@dataclass(frozen=True)
class Later:
    """A batch that the host's own cores run, once its result is asked for."""

    work: Callable[[], Outputs]

    def result(self) -> Outputs:
        """Run it."""
        return self.work()


class Runtime(Protocol):
    """A bundle's network on a device. Built, and called, by the engine's threads alone."""

    name: str  # the library: torch, openvino, onnxruntime
    device: str  # cpu or cuda
    precision: str  # of the arithmetic: fp32 or bf16
    lengths: tuple[int, ...]  # token counts that texts are padded to, ascending; empty: to the longest of a batch
    in_flight: int  # batches to hand over at a time: 1 where the host's cores run it, 2 where a device works by itself

    def start(
        self, items: Sequence[Item], tasks: Sequence[str] | None = None, narrowed: Narrowed | None = None
    ) -> Pending:
        """Collate a batch of prepared items and set it going; `tasks` names the heads that are needed, None for all.

        `narrowed`: further answers to the items; in the outputs they stand behind the items' own.
        Never called by two threads at once, but while another thread waits for an earlier batch's result.
        """
        ...


MakeRuntime = Callable[[Bundle], Runtime]


class RuntimeUnavailable(RuntimeError):
    """The device or the library that was asked for is not there; the message says what is."""


class DeviceOutOfMemory(RuntimeError):
    """The device has no memory for a batch of this size; a smaller one may fit."""


# What libraries say that have no class of their own for it: torch on the CPU, ONNX Runtime, OpenVINO.
_NO_MEMORY = re.compile(
    r"out of memory|std::bad_alloc|bad allocation|(?:can't|cannot|could not|failed to|unable to) allocate",
    re.IGNORECASE,
)


def lacks_memory(error: BaseException) -> bool:
    """Whether a forward failed because memory was short, on the device or on the host."""
    if isinstance(error, (DeviceOutOfMemory, MemoryError)):
        return True
    return isinstance(error, Exception) and _NO_MEMORY.search(str(error)) is not None


def run(runtime: Runtime, items: Sequence[Item], tasks: Sequence[str] | None = None) -> Outputs:
    """One batch from start to end."""
    return runtime.start(items, tasks).result()


def warm_up(runtime: Runtime, config: Config, batch_sizes: Sequence[int]) -> float:
    """Run every batch size at every length that texts are padded to, so that no request pays for first-time work.

    Gives the seconds that the longest of them took.
    """
    item = blank_item(config)
    longest = 0.0
    for length in sorted(runtime.lengths, reverse=True) or [item_length(item)]:
        cut = {name: values[:length] if values.ndim == 1 else values for name, values in item.items()}
        for size in sorted(set(batch_sizes), reverse=True):
            began = time.monotonic()
            run(runtime, [cut] * size)
            longest = max(longest, time.monotonic() - began)
    return longest


def blank_item(config: Config) -> dict[str, np.ndarray]:
    """An item with every modality present: mid-grey images [H, W, 3], texts of `max_tokens` tokens."""
    item: dict[str, np.ndarray] = {}
    for name, modality in config.modalities.items():
        if isinstance(modality, TextModality):
            item[name] = np.full(modality.max_tokens, some_token(modality), dtype=np.int64)
        else:
            item[name] = np.full((modality.height, modality.width, 3), 128, dtype=np.uint8)
    return item


def item_length(item: Item) -> int:
    """Tokens of the item's longest text: what a batch is padded to. 0 for an item without text."""
    return max((value.shape[0] for value in item.values() if value.ndim == 1), default=0)


def padded_length(longest: int, lengths: Sequence[int]) -> int:
    """What texts are padded to of which the longest has `longest` tokens; `lengths` as `Runtime.lengths`."""
    return next((length for length in lengths if length >= longest), longest) if longest else 0
