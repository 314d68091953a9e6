"""The forward by itself, and the runtime around it, without a service: what the device can do at most."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from app.serving.runtime import Pending
from app.serving.runtimes.cuda import CudaRuntime
from app.serving.runtimes.device import Device
from app.serving.runtimes.shapes import Shape, Shapes
from model.bundle import Bundle
from model.export.module import CalibratedNetwork
from model.preprocess import Item

MODES = {  # name -> precision, captured, compiled
    "fp32": ("fp32", False, False),
    "bf16": ("bf16", False, False),
    "bf16 graphs": ("bf16", True, False),
    "bf16 compiled, graphs": ("bf16", True, True),
}


class Forward:
    """One network on the device, launched again and again on inputs that lie there."""

    def __init__(self, bundle: Bundle, device: Device, precision: str, *, captured: bool, compiled: bool) -> None:
        self._device = device
        self._captured = captured
        self._config = bundle.config
        network = CalibratedNetwork(bundle)
        network.network.fold(torch.bfloat16 if precision == "bf16" else torch.float32)
        device.place(network)
        self._network: Callable[..., tuple[Tensor, ...]] = (
            torch.compile(network, dynamic=False) if compiled else network
        )
        self._stream = device.stream()

    def per_second(self, shape: Shape, items: Sequence[Item], seconds: float) -> float:
        """Items a second at one shape, for about so many seconds."""
        shapes = Shapes(self._config, [shape.rows])
        regions, present = shapes.regions(shape)
        inputs = self._device.memory(present.end)
        staged = self._device.pinned(present.end)
        for name, region in regions.items():
            region.of(staged).zero_()
            for row, item in enumerate(items):
                values = torch.from_numpy(item[name])
                region.of(staged)[row, : len(values)] = values
        present.of(staged)[:] = True
        self._device.settle()
        self._stream.copy(inputs, staged)
        values = [regions[name].of(inputs) if name in regions else None for name in self._config.modalities]
        work = partial(self._launch, values, present.of(inputs))
        if self._captured:
            launch = partial(self._stream.replay, self._device.capture(work, self._stream))
        else:
            launch = partial(self._stream.run, work)
        for _ in range(3):
            launch()
        self._device.settle()
        count, start = 0, time.perf_counter()
        batch = 1
        while (spent := time.perf_counter() - start) < seconds:
            for _ in range(batch):
                launch()
            self._device.settle()
            count += batch
            # So few pauses for settling that they do not count.
            batch = max(1, min(256, int(count * (seconds / 4) / max(time.perf_counter() - start, 1e-6))))
        return count * shape.rows / spent

    @torch.inference_mode()
    def _launch(self, values: list[Tensor | None], present: Tensor) -> None:
        torch.cat(self._network(values, present), dim=1)


def forwards(
    bundle: Bundle,
    make_device: Callable[[], Device],
    items: Sequence[Item],
    sizes: Sequence[int],
    modes: Sequence[str],
    seconds: float,
) -> list[dict[str, Any]]:
    """Items a second for each batch size and mode, on items of the length that uploads have at the median."""
    rows: list[dict[str, Any]] = [{"batch": size} for size in sizes]
    shapes = Shapes(bundle.config, sizes)
    alike = alike_items(items, shapes)
    for mode in modes:
        precision, captured, compiled = MODES[mode]
        device = make_device()  # one a mode: its graphs share memory with each other alone
        forward = Forward(bundle, device, precision, captured=captured, compiled=compiled)
        for row in rows:
            batch = [alike[number % len(alike)] for number in range(row["batch"])]
            shape = shapes.of(batch)
            row["tokens"] = shape.length
            try:
                row[mode] = round(forward.per_second(shape, batch, seconds), 1)
            except device.out_of_memory:
                row[mode] = None
    return rows


def alike_items(items: Sequence[Item], shapes: Shapes) -> list[Item]:
    """The items that pad to the length to which the median one does."""
    lengths = sorted(shapes.of([item]).length for item in items)
    return [item for item in items if shapes.of([item]).length == lengths[len(lengths) // 2]]


def pipeline(runtime: CudaRuntime, items: Sequence[Item], size: int, in_flight: int, seconds: float) -> float:
    """Items a second through the runtime, copies and all, from prepared items in batches of similar length."""
    ordered = sorted(items, key=lambda item: max((len(v) for v in item.values() if v.ndim == 1), default=0))
    repeated = [ordered[number * len(ordered) // max(size, len(ordered))] for number in range(max(size, len(ordered)))]
    batches = [repeated[start : start + size] for start in range(0, len(repeated) - size + 1, size)]
    pending: deque[Pending] = deque()
    done, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds or not done:
        if len(pending) == in_flight:
            pending.popleft().result()
            done += size
        pending.append(runtime.start(batches[(done // size) % len(batches)]))
    rate = done / spent
    for one in pending:
        one.result()
    return rate


def arithmetic(bundle: Bundle) -> dict[str, float]:
    """Floating-point operations of a forward: of one item without its text's tokens, and of each token.

    Attention's part that grows with the square of the length counts at the longest text.
    """
    network = CalibratedNetwork(bundle).to("meta")
    longest = max(Shapes(bundle.config, [1]).lengths, default=0)
    counts = [_operations(bundle, network, length) for length in {1, max(1, longest)}]
    if longest <= 1:
        return {"item": float(counts[0]), "token": 0.0}
    low, high = sorted(counts)
    token = (high - low) / (longest - 1)
    return {"item": low - token, "token": token}


@torch.inference_mode()
def _operations(bundle: Bundle, network: CalibratedNetwork, length: int) -> int:
    shapes = Shapes(bundle.config, [1])
    regions, present = shapes.regions(Shape(1, tuple(bundle.config.modalities), length))
    values = [torch.empty(regions[name].shape, dtype=regions[name].dtype, device="meta") for name in regions]
    with FlopCounterMode(display=False) as counter:
        network(values, torch.empty(present.shape, dtype=present.dtype, device="meta"))
    return int(counter.get_total_flops())
