"""PyTorch, eager: the reference that the other runtimes are measured against."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from app.serving.runtime import Later, Pending
from model.bundle import Bundle
from model.outputs import Outputs
from model.predictor import Predictor
from model.preprocess import Batch, Item, Narrowed, collate


class TorchRuntime:
    """Serves bundles without a graph too."""

    name = "torch"
    in_flight = 1
    lengths: tuple[int, ...] = ()

    def __init__(self, bundle: Bundle, device: str = "cpu", *, precision: str = "auto", threads: int = 1) -> None:
        """Build the network and load its weights.

        `device`: as torch names it; `precision`: auto is fp32; `threads`: of one forward on the CPU.
        """
        self.device = device
        self.precision = "bf16" if precision == "bf16" else "fp32"
        torch.set_num_threads(threads)
        self._predictor = Predictor(bundle, self.device)

    def start(
        self, items: Sequence[Item], tasks: Sequence[str] | None = None, narrowed: Narrowed | None = None
    ) -> Pending:
        """Collate; the forward runs in `result`."""
        return Later(partial(self._run, collate(items, self._predictor.config), tasks, narrowed))

    def _run(self, batch: Batch, tasks: Sequence[str] | None, narrowed: Narrowed | None) -> Outputs:
        with torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bf16"):
            return self._predictor.run(batch, tasks, narrowed)
