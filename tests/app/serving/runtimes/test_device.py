"""CUDA's side of the seam, with PyTorch's classes in the place of CUDA: what is called, in which order, with what."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import create_autospec

import pytest
import torch

from app.serving.runtimes.device import CudaDevice


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What PyTorch was told, in order. Streams and events have the real ones' methods and no others."""
    told: list[Any] = []
    real_stream, real_event = torch.cuda.Stream, torch.cuda.Event

    def make_stream(device: torch.device) -> Any:
        stream = create_autospec(real_stream, instance=True)
        stream.synchronize.side_effect = lambda: told.append("synchronize")
        stream.wait_event.side_effect = lambda event: told.append(("wait", event))
        return stream

    def make_event(**choices: bool) -> Any:
        inspect.signature(real_event.__new__).bind(real_event, **choices)
        assert choices == {"blocking": True}, "a thread that spins takes a core"
        event = create_autospec(real_event, instance=True)
        event.record.side_effect = lambda stream: told.append(("record", event, stream))
        return event

    @contextmanager
    def within(stream: Any) -> Iterator[None]:
        told.append("in stream")
        yield
        told.append("out of stream")

    signature = inspect.signature(torch.cuda.graph)

    @contextmanager
    def capturing(*values: Any, **named: Any) -> Iterator[None]:
        told.append(("capture", signature.bind(*values, **named).arguments))
        try:
            yield
        finally:
            told.append("captured")
            if broken:
                raise RuntimeError("capture failed")

    broken: list[bool] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: "pool")
    monkeypatch.setattr(torch.cuda, "Stream", make_stream)
    monkeypatch.setattr(torch.cuda, "Event", make_event)
    monkeypatch.setattr(torch.cuda, "stream", within)
    monkeypatch.setattr(torch.cuda, "graph", capturing)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", create_autospec(torch.cuda.CUDAGraph))
    told.append(broken)
    return told


def test_a_graph_is_captured_behind_a_run_of_its_own_in_the_same_stream(calls: list[Any]) -> None:
    device = CudaDevice()
    stream = device.stream()
    calls.clear()
    device.capture(lambda: calls.append("work"), stream)
    (arguments,) = [call[1] for call in calls if isinstance(call, tuple)]
    assert [call if isinstance(call, str) else call[0] for call in calls] == [
        "in stream", "work", "out of stream", "synchronize", "capture", "work", "captured",
    ]  # fmt: skip
    assert arguments["pool"] == "pool"
    assert arguments["stream"] is stream.stream
    assert arguments["capture_error_mode"] == "thread_local"


def test_memory_that_runs_out_in_a_capture_is_told_as_such(calls: list[Any]) -> None:
    device = CudaDevice()
    stream = device.stream()
    calls[0].append(True)  # the capture's end fails once more
    runs: list[int] = []

    def work() -> None:
        runs.append(1)
        if len(runs) == 2:
            raise torch.cuda.OutOfMemoryError("out of memory")

    with pytest.raises(device.out_of_memory, match="out of memory"):
        device.capture(work, stream)


def test_events_are_recorded_in_a_stream_and_waited_for_by_another(calls: list[Any]) -> None:
    device = CudaDevice()
    first, second, event = device.stream(), device.stream(), device.event()
    calls.clear()
    first.record(event)
    second.wait(event)
    assert calls == [("record", event.event, first.stream), ("wait", event.event)]
    event.synchronize()
    event.event.synchronize.assert_called_once_with()


def test_copies_do_not_wait_and_lie_in_their_stream(calls: list[Any]) -> None:
    stream = CudaDevice().stream()
    to, source = create_autospec(torch.Tensor, instance=True), torch.zeros(3)
    to.copy_.side_effect = lambda values, non_blocking: calls.append(("copy", values, non_blocking))
    calls.clear()
    stream.copy(to, source)
    assert calls == ["in stream", ("copy", source, True), "out of stream"]


def test_convolutions_are_told_to_compute_in_fp32(calls: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert not CudaDevice().has_bf16
    assert torch.backends.cudnn.allow_tf32 is False
