"""From a bundle's folder to a network that may answer: read, built, checked against its golden cases, warm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from app.serving.registry import Served
from app.serving.runtime import MakeRuntime, Runtime, blank_item, run, warm_up
from model.bundle import Bundle, load_bundle
from model.golden import check_golden
from model.preprocess import Item


@dataclass(frozen=True)
class Loaded:
    """A bundle that passed its golden cases on the runtime beside it."""

    bundle: Bundle
    runtime: Runtime
    probe: Item | None = None  # one that the runtime has answered
    longest: float = 0.0  # seconds of the longest forward while warming up

    @property
    def served(self) -> Served:
        """What requests see of it."""
        return Served(self.bundle, self.runtime.name, self.runtime.device, self.runtime.precision)


def load(path: Path, make_runtime: MakeRuntime, batch_sizes: Sequence[int]) -> Loaded:
    """Read a bundle, build its network, check its golden cases, warm every shape.

    Raises BundleError, and RuntimeUnavailable when the device is not there.
    """
    bundle = load_bundle(path)
    runtime = make_runtime(bundle)
    check_golden(bundle, partial(run, runtime), runtime.precision)
    longest = warm_up(runtime, bundle.config, batch_sizes)
    return Loaded(bundle, runtime, blank_item(bundle.config), longest)
