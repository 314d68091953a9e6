"""What goes into and comes out of the pipeline, and the bounds that it keeps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Options:
    """What a request asks for besides its inputs."""

    tasks: tuple[str, ...] | None = None  # None: every task of the bundle, in the bundle's order
    top_k: int = 3  # labels listed by a multiclass answer, 1 to 100
    coverage: float | None = None  # of conformal sets and intervals, between 0 and 1, both excluded
    explain: bool | Literal["full"] = False  # full: with the weights of the inputs' parts


@dataclass(frozen=True)
class Answer:
    """Every task's prediction for one request."""

    model: str
    version: str
    modalities: tuple[str, ...]  # those that the answer is based on, in the bundle's order
    predictions: dict[str, dict[str, Any]]  # task -> plain JSON values, as the HTTP contract has them
    truncated: tuple[str, ...]  # text modalities of which only the first tokens were read
    timings: dict[str, float]  # seconds by stage: admit, intake, queue, run, answer; from the cache: cache alone
    batch_size: int  # how many requests shared the forward; 0 for an answer from the cache
    familiarity: dict[str, float] | None = None  # of each input; None for a bundle without


@dataclass(frozen=True)
class ServingConfig:
    """Bounds and sizes of the pipeline. Raises ValueError that names the field."""

    bundles: tuple[Path, ...]  # the first is the default model
    device: str = "auto"  # auto | cpu | cuda
    torch_threads: int | None = None  # None: one a core that the process may use
    batch_sizes: tuple[int, ...] = (1, 2, 4, 8, 12, 16, 24, 32)  # each is warmed; the largest bounds a batch
    max_queue: int = 512  # prepared requests that wait for the engine
    max_in_flight: int = 512  # requests between admission and answer
    max_wait: float = 1.0  # seconds that a request may have to wait for those before it; see Admission
    max_bytes_in_flight: int = 1 << 30  # uploads held by those, in bytes
    default_deadline: float = 30.0  # seconds from admission
    hang_timeout: float = 0.0  # seconds after which a forward may count as hung, see Engine; 0: never
    max_explanations: int = 2  # full explanations that are under way at a time
    cache_bytes: int = 64 << 20  # finished answers that are kept; 0: none, and twins in flight are answered apart

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if not self.bundles:
            raise ValueError("bundles: name at least one bundle folder")
        if self.device not in ("auto", "cpu", "cuda"):
            raise ValueError(f"device: {self.device!r} is not one of auto, cpu, cuda")
        if not self.batch_sizes or min(self.batch_sizes) < 1:
            raise ValueError("batch_sizes: at least one, each 1 or more")
        for name in ("max_queue", "max_in_flight", "max_wait", "max_bytes_in_flight", "default_deadline"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}: must be above 0")
        for name in ("cache_bytes", "hang_timeout", "max_explanations"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: must be 0 or more")
        if self.torch_threads is not None and self.torch_threads < 1:
            raise ValueError("torch_threads: must be 1 or more")
