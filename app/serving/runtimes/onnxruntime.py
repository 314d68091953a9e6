"""ONNX Runtime on the CPU: reads a bundle's graph and needs no torch; computes in fp32."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import onnxruntime  # type: ignore[import-untyped]

from app.serving.runtime import Pending, RuntimeUnavailable
from app.serving.runtimes.graph import GraphEnds
from model.bundle import Bundle, BundleError
from model.preprocess import Item, Narrowed


class OnnxRuntime:
    """One session for every shape."""

    name = "onnxruntime"
    device = "cpu"
    precision = "fp32"
    in_flight = 1

    def __init__(self, bundle: Bundle, *, precision: str = "auto", threads: int = 1) -> None:
        """Read and optimise the bundle's graph.

        `threads`: of one forward. Raises RuntimeUnavailable for bf16, which its operators for CPUs lack, and
        BundleError when the graph cannot be read.
        """
        if bundle.graph is None:
            raise RuntimeUnavailable(f"{bundle.path}: has no graph for ONNX Runtime to read")
        if precision == "bf16":
            raise RuntimeUnavailable("precision: ONNX Runtime computes in fp32 on a CPU; use auto or fp32")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors are raised
        # Threads that wait by spinning take the cores from those that decode.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
        try:
            self._session = onnxruntime.InferenceSession(str(bundle.graph), options, ["CPUExecutionProvider"])
        except Exception as error:  # the library raises classes of its own that share no base
            raise BundleError(f"{bundle.graph}: ONNX Runtime cannot read it: {error}") from None
        self._ends = GraphEnds(bundle, [end.name for end in self._session.get_inputs()])
        self.lengths = self._ends.lengths

    def start(
        self, items: Sequence[Item], tasks: Sequence[str] | None = None, narrowed: Narrowed | None = None
    ) -> Pending:
        """Collate; the forward runs in `result`."""
        return self._ends.later(partial(self._session.run, self._ends.outputs), items, tasks, narrowed)
