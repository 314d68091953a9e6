"""Which runtime serves a bundle."""

from __future__ import annotations

from app.serving.runtime import Runtime
from model.bundle import Bundle


def choose_runtime(bundle: Bundle, *, device: str = "auto", threads: int | None = None) -> Runtime:
    """Build the runtime for a device. Raises RuntimeUnavailable, or BundleError when the bundle does not fit it."""
    # Imported when it is needed, because torch takes seconds in which the service could answer probes.
    from app.serving.runtimes.torch import TorchRuntime

    return TorchRuntime(bundle, device, threads)
