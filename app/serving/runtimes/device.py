"""What `CudaRuntime` asks of a device, and CUDA's answer to it.

The seam is thin on purpose: a stand-in that keeps the same rules of order (a stream runs its work one by one, streams
run side by side, events order one behind another, the host waits for events alone) runs the same runtime without CUDA.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from app.serving.runtime import RuntimeUnavailable


class Stream(Protocol):
    """A queue of the device's work, which runs in order; what is put in it returns before it has run."""

    def copy(self, to: Tensor, source: Tensor) -> None:
        """Copy between two tensors of one shape and type; on the host's side of it, memory of `Device.pinned`."""
        ...

    def run(self, work: Callable[[], None]) -> None:
        """Put the operations of `work` in the queue, one by one."""
        ...

    def replay(self, graph: Graph) -> None:
        """Put a captured graph in the queue, as one."""
        ...

    def record(self, event: Event) -> None:
        """Let `event` stand for the end of what is in the queue now."""
        ...

    def wait(self, event: Event) -> None:
        """Let what comes behind wait for `event` as it was last recorded; the host does not wait."""
        ...


class Event(Protocol):
    """A point in a stream's work."""

    def synchronize(self) -> None:
        """Block the calling thread until the device has reached the point that was recorded last."""
        ...


class Graph(Protocol):
    """The operations of one piece of work, as captured: they run again on the same memory."""


class Device(Protocol):
    """One device of this process."""

    @property
    def out_of_memory(self) -> type[Exception]:
        """What its operations raise when its memory is full."""
        ...

    @property
    def has_bf16(self) -> bool:
        """Whether it multiplies matrices in bf16 without emulation."""
        ...

    def place(self, module: torch.nn.Module) -> None:
        """Move a network's weights to the device, in place, in the memory format that its convolutions like."""
        ...

    def pinned(self, nbytes: int) -> Tensor:
        """Page-locked memory of the host, uint8 [nbytes], from which and to which copies are asynchronous."""
        ...

    def memory(self, nbytes: int) -> Tensor:
        """Memory of the device, uint8 [nbytes]."""
        ...

    def stream(self) -> Stream:
        """A queue of its own."""
        ...

    def event(self) -> Event:
        """An event that nothing was recorded in yet."""
        ...

    def capture(self, work: Callable[[], None], stream: Stream) -> Graph:
        """Run `work` once and capture it, to be replayed in `stream` alone; its memory is shared with other graphs."""
        ...

    def settle(self) -> None:
        """Block until all streams are empty: for building, and for what went wrong."""
        ...


class CudaEvent:
    """A CUDA event that lets the waiting thread sleep: a thread that spins would take a core from decoding."""

    def __init__(self) -> None:
        self.event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # torch types it not

    def synchronize(self) -> None:
        """See Event."""
        self.event.synchronize()


class CudaStream:
    """A CUDA stream that does not order itself against the default stream."""

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch types it not

    def copy(self, to: Tensor, source: Tensor) -> None:
        """See Stream."""
        with torch.cuda.stream(self.stream):
            to.copy_(source, non_blocking=True)

    def run(self, work: Callable[[], None]) -> None:
        """See Stream."""
        with torch.cuda.stream(self.stream):
            work()

    def replay(self, graph: Graph) -> None:
        """See Stream."""
        assert isinstance(graph, torch.cuda.CUDAGraph)
        with torch.cuda.stream(self.stream):
            graph.replay()

    def record(self, event: Event) -> None:
        """See Stream."""
        assert isinstance(event, CudaEvent)
        event.event.record(self.stream)

    def wait(self, event: Event) -> None:
        """See Stream."""
        assert isinstance(event, CudaEvent)
        self.stream.wait_event(event.event)


class CudaDevice:
    """The first CUDA device that PyTorch finds."""

    out_of_memory = torch.cuda.OutOfMemoryError

    def __init__(self) -> None:
        """Take the device. Raises RuntimeUnavailable when there is none."""
        if not torch.cuda.is_available():
            raise RuntimeUnavailable("device: cuda was asked for, and torch finds no CUDA device; use auto or cpu")
        self._device = torch.device("cuda", 0)
        # Convolutions in fp32 would otherwise round their inputs to 10 bits, and answers would differ from the CPU's.
        torch.backends.cudnn.allow_tf32 = False
        # One pool for all graphs: they run one at a time, so that what one needs between its operations, all may use.
        self._pool = torch.cuda.graph_pool_handle()

    @property
    def has_bf16(self) -> bool:
        """From compute capability 8.0 on."""
        return torch.cuda.get_device_capability(self._device) >= (8, 0)

    def place(self, module: torch.nn.Module) -> None:
        """See Device."""
        module.to(self._device)
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stub lacks it

    def pinned(self, nbytes: int) -> Tensor:
        """See Device."""
        return torch.empty(nbytes, dtype=torch.uint8, pin_memory=True)

    def memory(self, nbytes: int) -> Tensor:
        """See Device."""
        return torch.empty(nbytes, dtype=torch.uint8, device=self._device)

    def stream(self) -> CudaStream:
        """See Device."""
        return CudaStream(self._device)

    def event(self) -> CudaEvent:
        """See Device."""
        return CudaEvent()

    def capture(self, work: Callable[[], None], stream: Stream) -> torch.cuda.CUDAGraph:
        """See Device."""
        assert isinstance(stream, CudaStream)
        # Once outside of the capture, in the same stream: there libraries load kernels, choose algorithms and take
        # workspaces, which all may not be done in a capture.
        stream.run(work)
        stream.stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        # Other threads may wait for their own batches meanwhile: only this thread's calls are the capture's business.
        try:
            with torch.cuda.graph(graph, self._pool, stream.stream, capture_error_mode="thread_local"):
                work()
        except RuntimeError as error:
            # A capture that was broken off fails at its end once more, and hides what had happened.
            if isinstance(error.__context__, self.out_of_memory):
                raise error.__context__ from None
            raise
        return graph

    def settle(self) -> None:
        """See Device."""
        torch.cuda.synchronize(self._device)
