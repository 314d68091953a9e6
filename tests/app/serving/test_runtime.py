"""What every runtime is given before the first request, and how long an item is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from app.serving.runtime import DeviceOutOfMemory, Later, blank_item, item_length, lacks_memory, warm_up
from model.config import Config
from model.outputs import Outputs
from tests.app.serving.bench import picture
from tests.support.tiny import tiny_config


@pytest.mark.parametrize(("lengths", "run_at"), [((), (12,)), ((4, 12), (12, 4))])
def test_warm_up_runs_each_size_at_each_length_once_with_everything_present(
    lengths: tuple[int, ...], run_at: tuple[int, ...]
) -> None:
    config = tiny_config()
    seen = []

    class Recorder:
        name, device, precision, in_flight = "recorder", "cpu", "fp32", 1
        lengths: tuple[int, ...]

        def start(self, items, tasks=None):  # type: ignore[no-untyped-def]
            (length,) = {item_length(item) for item in items}
            seen.append((length, len(items), tasks))
            assert all(item["image"].shape == (16, 12, 3) for item in items)
            return Later(lambda: Outputs({}, np.ones((len(items), 2), np.float32)))

    recorder = Recorder()
    recorder.lengths = lengths
    warm_up(recorder, config, (1, 4, 2, 4))
    assert seen == [(length, size, None) for length in run_at for size in (4, 2, 1)]


def test_length_is_that_of_the_longest_text() -> None:
    document = tiny_config().model_dump()
    document["modalities"]["more"] = {**document["modalities"]["text"], "max_tokens": 30}
    assert item_length(blank_item(Config.model_validate(document))) == 30
    assert item_length({"image": picture(0)}) == 0


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        DeviceOutOfMemory("full"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        # As torch on a CPU and ONNX Runtime said when their address space was limited.
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you"),
        Exception(
            "bfc_arena.cc:360 void* BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer"
        ),
        RuntimeError("Exception from src/inference/src/cpp/infer_request.cpp:223: std::bad_alloc"),
    ],
)
def test_what_is_said_where_memory_is_short(error: Exception) -> None:
    assert lacks_memory(error)


@pytest.mark.parametrize(
    "error", [ValueError("no text"), RuntimeError("CUDA error: an illegal memory access"), SystemExit()]
)
def test_what_is_said_where_it_is_not(error: BaseException) -> None:
    assert not lacks_memory(error)
