"""PyTorch on a CUDA device: batches go in and answers come out while the device works on others.

A batch's way: collated into page-locked memory, copied to the device in a stream of its own, run in the stream of all
forwards, its answers copied back in a third. Events order the three; the host waits in `Pending.result` alone. Every
shape of batch that the batcher makes has a CUDA graph, so that a forward costs the host one launch.

Memory beside weights and graphs: `in_flight` places of the largest batch on the host and on the device, and one more
on the device. Graphs number sizes × lengths × patterns of modalities, MOST_GRAPHS at most, and share what they compute
in; any other shape runs without one.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from app.serving.runtime import DeviceOutOfMemory, Pending, RuntimeUnavailable
from app.serving.runtimes.device import CudaDevice, Device, Graph
from app.serving.runtimes.shapes import Region, Shape, Shapes
from model.bundle import Bundle
from model.calibration import answer_size
from model.export.module import CalibratedNetwork
from model.outputs import Outputs
from model.preprocess import Item, Narrowed, collate

log = logging.getLogger(__name__)


class _Place:
    """What one batch in flight occupies, on the host and on the device."""

    def __init__(self, device: Device, inputs: int, answers: int) -> None:
        """`inputs` and `answers`: bytes."""
        self.host = device.pinned(inputs)
        self.inputs = device.memory(inputs)
        self.answers = device.memory(answers)
        self.host_answers = device.pinned(answers)
        self.uploaded, self.computed, self.done = device.event(), device.event(), device.event()


class _Pending:
    """A batch on the device."""

    def __init__(self, place: _Place, answers: Region, read: Callable[[Tensor], Outputs], leave: Callable[[], None]):
        self._place = place
        self._answers = answers
        self._read = read
        self._leave = leave

    def result(self) -> Outputs:
        """Wait for the batch's answers, and give its place to another."""
        try:
            self._place.done.synchronize()
            return self._read(self._answers.of(self._place.host_answers).clone())
        finally:
            self._leave()


class CudaRuntime:
    """A bundle's network on a CUDA device, `in_flight` batches at a time."""

    name = "torch"
    device = "cuda"

    def __init__(
        self,
        bundle: Bundle,
        batch_sizes: Sequence[int],
        *,
        precision: str = "auto",
        in_flight: int = 2,
        graphs: bool = True,
        compiled: bool = False,
        device: Device | None = None,
    ) -> None:
        """Load the weights, and capture a graph for every shape that batches of `batch_sizes` come in.

        `precision`: auto takes bf16 where the device has it. `graphs`: off, every operation is launched by itself.
        `compiled`: have torch.compile write the kernels, once a shape. `device`: another than the first CUDA device.
        Raises RuntimeUnavailable when there is none, or when its memory is too small.
        """
        self._device = device or CudaDevice()
        self.precision = _choose_precision(self._device, precision)
        self.in_flight = in_flight
        self._config = bundle.config
        self._shapes = Shapes(bundle.config, batch_sizes)
        self.lengths = self._shapes.lengths
        self._network = CalibratedNetwork(bundle)
        widths = [answer_size(task) for task in bundle.config.tasks.values()]
        self._columns = dict(zip(bundle.config.tasks, _ranges(widths), strict=True))
        self._alpha = slice(sum(widths), sum(widths) + len(bundle.config.modalities))
        self._distances = bool(bundle.calibration.familiarity)
        self._width = self._alpha.stop + (len(bundle.config.modalities) if self._distances else 0)
        self._places: queue.SimpleQueue[_Place] = queue.SimpleQueue()
        self._graphs: dict[Shape, Graph] = {}
        try:
            self._build(batch_sizes, graphs, compiled)
        except self._device.out_of_memory as error:
            raise RuntimeUnavailable(
                f"{bundle.path}: the device has too little memory for batches of {max(batch_sizes)} in flight: "
                f"{error}; serve with smaller --batch-sizes, or with --device cpu"
            ) from error

    def _build(self, batch_sizes: Sequence[int], graphs: bool, compiled: bool) -> None:
        started = time.monotonic()
        self._network.network.fold(torch.bfloat16 if self.precision == "bf16" else torch.float32)
        self._device.place(self._network)
        self._forward: nn.Module | Callable[..., tuple[Tensor, ...]] = self._network
        if compiled:
            self._forward = torch.compile(self._network, dynamic=False)
        self._upload, self._compute, self._download = (self._device.stream() for _ in range(3))
        sizes = self._sizes(self._shapes.largest())
        for _ in range(self.in_flight):
            self._places.put(_Place(self._device, *sizes))
        # Graphs read and write where they did when they were captured: here, and so for one batch at a time.
        self._static_inputs, self._static_answers = (self._device.memory(size) for size in sizes)
        self._static_inputs.zero_()
        self._capacity = sizes
        # What was done until now lies in the default stream, which the three do not wait for.
        self._device.settle()
        for shape in self._shapes.graphs() if graphs else ():
            work = partial(self._run, shape, self._static_inputs, self._static_answers)
            self._graphs[shape] = self._device.capture(work, self._compute)
        self._device.settle()
        log.info("%d shapes captured in %.1f s", len(self._graphs), time.monotonic() - started)

    def start(
        self, items: Sequence[Item], tasks: Sequence[str] | None = None, narrowed: Narrowed | None = None
    ) -> Pending:
        """Collate a batch and hand it to the device; every head runs, `tasks` names those to give.

        With `narrowed`, a batch has a shape that no graph was captured for: its operations are launched one by one.
        Raises ValueError for an item without any modality, DeviceOutOfMemory, and RuntimeError when more than
        `in_flight` batches have no result yet.
        """
        if not all(items):
            raise ValueError("an item has no modality at all; there is nothing to predict from")
        shape = self._shapes.of(items, narrowed)
        try:
            place, leave = self._enter(shape)
            try:
                answers = self._launch(items, narrowed, shape, place)
            except BaseException:
                self._device.settle()  # what is under way still reads and writes the place
                leave()
                raise
        except self._device.out_of_memory as error:
            raise DeviceOutOfMemory(f"no memory on the device for a batch of {len(items)}: {error}") from error
        return _Pending(place, answers, partial(self._read, list(self._columns if tasks is None else tasks)), leave)

    def _enter(self, shape: Shape) -> tuple[_Place, Callable[[], None]]:
        sizes = self._sizes(shape)
        if any(size > room for size, room in zip(sizes, self._capacity, strict=True)):
            return _Place(self._device, *sizes), lambda: None
        try:
            place = self._places.get_nowait()
        except queue.Empty:
            raise RuntimeError(f"{self.in_flight} batches are in flight already; ask for a result first") from None
        return place, partial(self._places.put, place)

    def _launch(self, items: Sequence[Item], narrowed: Narrowed | None, shape: Shape, place: _Place) -> Region:
        """Put a batch in the streams; where its answers will be."""
        regions, present = self._shapes.regions(shape)
        rows = self._shapes.rows(shape)
        batch = collate(items, self._config, {name: region.array(place.host) for name, region in regions.items()})
        if narrowed is None:
            present.array(place.host)[:] = batch.present
        else:
            rows.array(place.host)[:], present.array(place.host)[:] = narrowed.behind(batch.present)
        answers = self._answers(shape)
        # The place's last batch has ended, result and all, so that nothing reads or writes it any more.
        self._upload.copy(place.inputs[: rows.end], place.host[: rows.end])
        self._upload.record(place.uploaded)
        self._compute.wait(place.uploaded)
        graph = self._graphs.get(shape)
        if graph is None:
            self._compute.run(partial(self._run, shape, place.inputs, place.answers))
        else:
            # In one stream with all other replays: the last one has read its inputs, and its answers have left.
            self._compute.copy(self._static_inputs[: present.end], place.inputs[: present.end])
            self._compute.replay(graph)
            self._compute.copy(place.answers[: answers.end], self._static_answers[: answers.end])
        self._compute.record(place.computed)
        self._download.wait(place.computed)
        self._download.copy(place.host_answers[: answers.end], place.answers[: answers.end])
        self._download.record(place.done)
        return answers

    @torch.inference_mode()
    def _run(self, shape: Shape, inputs: Tensor, answers: Tensor) -> None:
        """The forward, from a buffer of inputs to one of answers; nothing in it waits for the device."""
        regions, present = self._shapes.regions(shape)
        values = [regions[name].of(inputs) if name in regions else None for name in self._config.modalities]
        # What torch.compile writes is for one shape, and those with further answers are too many.
        found = (
            self._network(values, present.of(inputs), self._shapes.rows(shape).of(inputs))
            if shape.further
            else self._forward(values, present.of(inputs))
        )
        self._answers(shape).of(answers).copy_(torch.cat(found, dim=1))

    def _read(self, tasks: Sequence[str], answers: Tensor) -> Outputs:
        values = answers.numpy()
        return Outputs(
            {name: values[:, self._columns[name]] for name in tasks},
            values[:, self._alpha],
            distance=values[:, self._alpha.stop :] if self._distances else None,
        )

    def _answers(self, shape: Shape) -> Region:
        return Region(0, (shape.answers, self._width), torch.float32)

    def _sizes(self, shape: Shape) -> tuple[int, int]:
        """Bytes of a shape's inputs and of its answers."""
        return self._shapes.rows(shape).end, self._answers(shape).end


def _choose_precision(device: Device, precision: str) -> str:
    if precision == "bf16" and not device.has_bf16:
        raise RuntimeUnavailable("precision: this device does not compute in bf16; use auto or fp32")
    return "bf16" if precision != "fp32" and device.has_bf16 else "fp32"


def _ranges(widths: Sequence[int]) -> list[slice]:
    ends = np.cumsum(widths).tolist()
    return [slice(end - width, end) for end, width in zip(ends, widths, strict=True)]
