"""Which runtime serves a bundle: by the device, by what is installed, by what the bundle has."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Sequence
from functools import partial

from app.serving.runtime import Runtime, RuntimeUnavailable, run
from app.threads import gpu_expected, usable_cores
from model.bundle import GRAPH, Bundle, BundleError
from model.golden import check_golden

log = logging.getLogger(__name__)

# Those for the CPU, the fastest first: docs/decisions/0005-cpu-runtime.md.
_ON_CPU = ("openvino", "onnxruntime", "torch")
_WRITE_A_GRAPH = "trunkline export {} --format graph"


def choose_runtime(
    bundle: Bundle,
    *,
    runtime: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    batch_sizes: Sequence[int] = (1, 2, 4, 8, 16, 32),
) -> Runtime:
    """Build what runs a bundle.

    `runtime`: auto, openvino, onnxruntime or torch; `device`: auto takes CUDA where torch finds it; `precision`: auto
    takes what the device computes fastest, and on a CPU fp32 where the golden cases do not bear that; `threads`: of one
    forward on the CPU, None for every usable core; `batch_sizes`: those that a GPU is prepared for. Raises
    RuntimeUnavailable, which says what is missing, or BundleError when the bundle does not fit.
    """
    if device != "cpu" and runtime in ("auto", "torch") and _cuda(device):
        from app.serving.runtimes.cuda import CudaRuntime

        return CudaRuntime(bundle, batch_sizes, precision=precision)
    if device == "cuda":
        raise RuntimeUnavailable(f"device: cuda needs runtime torch or auto, not {runtime}")
    name = _for_cpu(bundle) if runtime == "auto" else runtime
    _need(name, bundle)
    return _on_cpu(name, bundle, precision, threads or usable_cores())


def _on_cpu(name: str, bundle: Bundle, precision: str, threads: int) -> Runtime:
    make = partial(_maker(name), bundle, threads=threads)
    runtime: Runtime = make(precision=precision)
    if precision == "auto" and runtime.precision != "fp32":
        # What is faster is taken where it does no harm; some networks need every digit.
        try:
            check_golden(bundle, partial(run, runtime), runtime.precision)
        except BundleError as error:
            log.warning("in fp32, because in %s %s", runtime.precision, error)
            return make(precision="fp32")
    return runtime


def _cuda(device: str) -> bool:
    """Whether there is a CUDA device. Raises RuntimeUnavailable where it was asked for by name and is not there."""
    # Importing torch takes seconds, so it is asked only where something speaks for a device.
    if not gpu_expected(device):
        return False
    if not _installed("torch"):
        raise RuntimeUnavailable("device: cuda needs torch: pip install 'trunkline[torch]'")
    import torch

    if torch.cuda.is_available():
        return True
    if device == "cuda":
        raise RuntimeUnavailable("device: cuda was asked for, and torch finds no CUDA device; use auto or cpu")
    return False


def _for_cpu(bundle: Bundle) -> str:
    for name in _ON_CPU:
        if _installed(name) and (bundle.graph is not None or name == "torch"):
            return name
    if bundle.graph is not None:
        raise RuntimeUnavailable("no runtime is installed: pip install openvino")
    raise RuntimeUnavailable(
        f"{bundle.path}: has no {GRAPH}, and torch is not installed. Write one where torch is, by "
        f"{_WRITE_A_GRAPH.format(bundle.path)}, or serve by torch: pip install 'trunkline[torch]'"
    )


def _need(name: str, bundle: Bundle) -> None:
    if not _installed(name):
        extra = "openvino" if name == "openvino" else f"'trunkline[{name}]'"
        raise RuntimeUnavailable(f"runtime: {name} is not installed: pip install {extra}")
    if name != "torch" and bundle.graph is None:
        raise RuntimeUnavailable(
            f"{bundle.path}: has no {GRAPH} for {name} to read; write one by {_WRITE_A_GRAPH.format(bundle.path)}"
        )


def _maker(name: str) -> Callable[..., Runtime]:
    if name == "openvino":
        from app.serving.runtimes.openvino import OpenVinoRuntime

        return OpenVinoRuntime
    if name == "onnxruntime":
        from app.serving.runtimes.onnxruntime import OnnxRuntime

        return OnnxRuntime
    from app.serving.runtimes.torch import TorchRuntime

    return TorchRuntime


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None
