"""OpenVINO on the CPU: reads a bundle's graph, needs no torch, and computes in bf16 where the processor does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.serving.runtime import Pending, RuntimeUnavailable
from app.serving.runtimes.graph import Feed, GraphEnds
from app.serving.runtimes.quiet_openvino import openvino
from model.bundle import Bundle, BundleError
from model.preprocess import Item, Narrowed

_TYPES = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoRuntime:
    """One compiled graph for every shape; what a shape needs besides is made when it is first met."""

    name = "openvino"
    device = "cpu"
    in_flight = 1

    def __init__(self, bundle: Bundle, *, precision: str = "auto", threads: int = 1) -> None:
        """Read and compile the bundle's graph.

        `precision`: auto takes bf16 where the processor has instructions for it. `threads`: of one forward. Raises
        RuntimeUnavailable for bf16 on a processor without it, and BundleError when the graph cannot be read.
        """
        if bundle.graph is None:
            raise RuntimeUnavailable(f"{bundle.path}: has no graph for OpenVINO to read")
        core = openvino.Core()
        self.precision = _choose_precision(core, precision)
        try:
            model = core.read_model(str(bundle.graph))
            compiled = core.compile_model(
                model,
                "CPU",
                {
                    "INFERENCE_PRECISION_HINT": _TYPES[self.precision],
                    "PERFORMANCE_HINT": "LATENCY",
                    "INFERENCE_NUM_THREADS": threads,
                    "NUM_STREAMS": 1,
                    # Under a quota, or beside threads that decode, a core of one's own is worth less than any free one.
                    "ENABLE_CPU_PINNING": False,
                },
            )
            self._ends = GraphEnds(bundle, [name for end in compiled.inputs for name in end.names])
            self._outputs = [compiled.output(name) for name in self._ends.outputs]
        except RuntimeError as error:
            raise BundleError(f"{bundle.graph}: OpenVINO cannot read it: {error}") from None
        self.lengths = self._ends.lengths
        self._request = compiled.create_infer_request()

    def start(
        self, items: Sequence[Item], tasks: Sequence[str] | None = None, narrowed: Narrowed | None = None
    ) -> Pending:
        """Collate; the forward runs in `result`."""
        return self._ends.later(self._forward, items, tasks, narrowed)

    def _forward(self, feed: Feed) -> list[NDArray[np.float32]]:
        # The inputs are read where they are. The outputs are copied: the next forward writes over the library's own.
        answers = self._request.infer(feed, share_inputs=True)
        return [answers[output] for output in self._outputs]


def _choose_precision(core: openvino.Core, precision: str) -> str:
    native = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "auto":
        return "bf16" if native else "fp32"
    if precision == "bf16" and not native:
        raise RuntimeUnavailable("precision: this processor has no instructions for bf16; use auto or fp32")
    return precision
