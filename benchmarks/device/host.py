"""This machine's processor in the place of a CUDA device, so that the GPU benchmark's own code runs without one.

Every operation is done at once, in the calling thread: right answers, and no overlap.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class HostStream:
    """See app.serving.runtimes.device.Stream."""

    def copy(self, to: Tensor, source: Tensor) -> None:
        """Copy now."""
        to.copy_(source)

    def run(self, work: Callable[[], None]) -> None:
        """Run now."""
        work()

    def replay(self, graph: Callable[[], None]) -> None:
        """Run now."""
        graph()

    def record(self, event: HostEvent) -> None:
        """Nothing: what came before is done."""

    def wait(self, event: HostEvent) -> None:
        """Nothing: what came before is done."""


class HostEvent:
    """See app.serving.runtimes.device.Event."""

    def synchronize(self) -> None:
        """Nothing: what came before is done."""


class HostDevice:
    """See app.serving.runtimes.device.Device."""

    out_of_memory = MemoryError
    has_bf16 = True

    def place(self, module: nn.Module) -> None:
        """Bring convolutions to their faster memory format."""
        module.to(memory_format=torch.channels_last)

    def pinned(self, nbytes: int) -> Tensor:
        """Ordinary memory."""
        return torch.empty(nbytes, dtype=torch.uint8)

    def memory(self, nbytes: int) -> Tensor:
        """Ordinary memory."""
        return torch.empty(nbytes, dtype=torch.uint8)

    def stream(self) -> HostStream:
        """A stream that keeps nothing."""
        return HostStream()

    def event(self) -> HostEvent:
        """An event that has always been reached."""
        return HostEvent()

    def capture(self, work: Callable[[], None], stream: HostStream) -> Callable[[], None]:
        """The work itself, once it has run."""
        work()
        return work

    def settle(self) -> None:
        """Nothing: all is done."""
