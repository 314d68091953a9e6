"""A stand-in for a device: it keeps the rules of order of CUDA streams and events, and a clock of its own.

Operations lie in streams until somebody lets them run, so that what is handed to the device too early, overwritten too
soon or read too late shows in the answers. Which of the streams goes on can be drawn: any choice is one that a real
device may make. Each operation has a known service time; the clock that they advance is simulated, so that what
overlaps is counted and not measured.
"""

from __future__ import annotations

import random
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

PATIENCE = 20.0  # seconds after which a test that waits for another thread has failed

UPLOAD, RUN, DOWNLOAD, ON_DEVICE = "upload", "run", "download", "on device"


@dataclass
class Operation:
    """Something in a stream. `seconds` of service; `after`: a recorded event's number that has to be reached first."""

    kind: str
    action: Callable[[], object] = lambda: None
    seconds: float = 0.0
    after: Mark | None = None
    sets: Mark | None = None
    given: float = 0.0  # when the host put it there


@dataclass
class Mark:
    """One recording of an event."""

    at: float | None = None  # when it was reached


@dataclass(frozen=True)
class Span:
    """When an operation ran."""

    kind: str
    start: float
    end: float


@dataclass
class StandInStream:
    """See app.serving.runtimes.device.Stream."""

    device: StandInDevice
    waiting: deque[Operation] = field(default_factory=deque)
    clock: float = 0.0

    def copy(self, to: Tensor, source: Tensor) -> None:
        assert to.shape == source.shape
        assert to.dtype == source.dtype
        kind = self.device.direction(to, source)
        self.device.put(self, Operation(kind, partial(to.copy_, source)))

    def run(self, work: Callable[[], None]) -> None:
        self.device.count("eager")
        self.device.need_memory_for(work)
        self.device.put(self, Operation(RUN, work))

    def replay(self, graph: Any) -> None:
        self.device.count("replay")
        self.device.put(self, Operation(RUN, graph.work))

    def record(self, event: Any) -> None:
        event.mark = Mark()
        self.device.put(self, Operation("record", sets=event.mark))

    def wait(self, event: Any) -> None:
        if event.mark is not None and not self.device.forgets_waits:  # one that was never recorded is no obstacle
            self.device.put(self, Operation("wait", after=event.mark))


class StandInEvent:
    """See app.serving.runtimes.device.Event."""

    def __init__(self, device: StandInDevice) -> None:
        self.device = device
        self.mark: Mark | None = None

    def synchronize(self) -> None:
        self.device.count("synchronize")
        if self.mark is not None:
            self.device.reach(self.mark)


@dataclass
class StandInGraph:
    """See app.serving.runtimes.device.Graph."""

    work: Callable[[], None]


class StandInDevice:
    """See app.serving.runtimes.device.Device. `hold` keeps forwards from starting until they are let `go`."""

    class out_of_memory(Exception):  # named as the device's interface has it
        pass

    def __init__(
        self,
        seconds: Mapping[str, float] | None = None,
        *,
        has_bf16: bool = False,
        room: int | None = None,
    ) -> None:
        """`seconds` of service by kind of operation; `room`: bytes of its memory.

        Nothing runs before somebody waits for it, and then the streams go on in the order of their making.
        """
        self.has_bf16 = has_bf16
        self.forgets_waits = False  # to see that the order between streams matters
        self.most_rows: int | None = None  # in a forward; there is no memory for more
        self.counts: Counter[str] = Counter()
        self.spans: list[Span] = []
        self.now = 0.0  # the host's clock
        self.held = False
        self._seconds = dict(seconds or {})
        self._random: random.Random | None = None
        self.room = room
        self._streams: list[StandInStream] = []
        self._pinned: dict[int, Tensor] = {}  # by address, and kept, so that no address is given twice
        self._on_device: dict[int, Tensor] = {}
        self._changed = threading.Condition()

    def shuffle(self, seed: int) -> None:
        """From now on, draw when something runs, and in which of the streams."""
        self._random = random.Random(seed)

    def count(self, what: str) -> None:
        self.counts[what] += 1

    # What the runtime asks for.

    def place(self, module: nn.Module) -> None:
        self._take(sum(p.numel() * p.element_size() for p in module.parameters()))

    def pinned(self, nbytes: int) -> Tensor:
        memory = torch.full((nbytes,), 0xCD, dtype=torch.uint8)
        self._pinned[memory.untyped_storage().data_ptr()] = memory
        return memory

    def memory(self, nbytes: int) -> Tensor:
        self._take(nbytes)
        memory = torch.full((nbytes,), 0xCD, dtype=torch.uint8)
        self._on_device[memory.untyped_storage().data_ptr()] = memory
        return memory

    def stream(self) -> StandInStream:
        self._streams.append(StandInStream(self))
        return self._streams[-1]

    def event(self) -> StandInEvent:
        return StandInEvent(self)

    def capture(self, work: Callable[[], None], stream: StandInStream) -> StandInGraph:
        assert not any(other.waiting for other in self._streams), "a capture among other work"
        work()
        self.count("capture")
        return StandInGraph(work)

    def settle(self) -> None:
        self.count("settle")
        with self._changed:
            while self._step():
                pass

    # What it does with it.

    def need_memory_for(self, work: Any) -> None:
        """What a forward that is not captured needs, it takes when it is launched."""
        if self.most_rows is not None and work.args[0].rows > self.most_rows:
            raise self.out_of_memory(f"tried to allocate for {work.args[0].rows} rows")

    def direction(self, to: Tensor, source: Tensor) -> str:
        places = to.untyped_storage().data_ptr(), source.untyped_storage().data_ptr()
        if places[0] in self._on_device:
            return UPLOAD if places[1] in self._pinned else ON_DEVICE
        assert places[0] in self._pinned, "a copy to memory that is not page-locked waits for the device"
        return DOWNLOAD

    def put(self, stream: StandInStream, operation: Operation) -> None:
        with self._changed:
            operation.seconds = self._seconds.get(operation.kind, 0.0)
            operation.given = self.now
            stream.waiting.append(operation)
            if self._random is not None:
                for _ in range(self._random.randrange(4)):
                    self._step()
            self._changed.notify_all()

    def reach(self, mark: Mark) -> None:
        """Let the device work until `mark`; blocks where forwards are held."""
        with self._changed:
            while mark.at is None:
                if not self._step():
                    assert self.held, "the device waits for an event that nothing will reach"
                    assert self._changed.wait(PATIENCE), "the test held a forward for too long"
            self.now = max(self.now, mark.at)

    def work_off(self) -> None:
        """Do whatever can be done now."""
        with self._changed:
            while self._step():
                pass

    def go(self) -> None:
        """Let held forwards start."""
        with self._changed:
            self.held = False
            self._changed.notify_all()

    def wait_for(self, kind: str, count: int, timeout: float) -> bool:
        """Wait until so many operations of a kind have run; False when they have not in time."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.busy(kind)) >= count, timeout)

    def busy(self, kind: str) -> list[Span]:
        """The operations of one kind, in the order in which they ran."""
        return [span for span in self.spans if span.kind == kind]

    def _step(self) -> bool:
        ready = [stream for stream in self._streams if stream.waiting and self._may_start(stream.waiting[0])]
        if not ready:
            return False
        stream = ready[0] if self._random is None else self._random.choice(ready)
        operation = stream.waiting.popleft()
        start = max(stream.clock, operation.given)
        if operation.after is not None and operation.after.at is not None:
            start = max(start, operation.after.at)
        operation.action()
        stream.clock = start + operation.seconds
        if operation.sets is not None:
            operation.sets.at = stream.clock
        if operation.kind in (UPLOAD, RUN, DOWNLOAD):
            self.spans.append(Span(operation.kind, start, stream.clock))
        self._changed.notify_all()
        return True

    def _may_start(self, operation: Operation) -> bool:
        if operation.after is not None:
            return operation.after.at is not None
        return not (self.held and operation.kind == RUN)

    def _take(self, nbytes: int) -> None:
        if self.room is not None:
            if nbytes > self.room:
                raise self.out_of_memory(f"tried to allocate {nbytes} bytes")
            self.room -= nbytes
