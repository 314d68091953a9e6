"""One step of training: gradient, clipping, optimizer, moving average; the same on every device."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn

from model.config import Config
from model.network import Network
from model.training.batches import TrainingBatch
from model.training.criterion import Criterion
from model.training.ema import EMA
from model.training.objective import objective, plan
from model.training.optimizer import Optimizer
from model.training.replicas import Replicas, replica_count

# Tasks' variances are single numbers, which at the network's rate would hardly leave their start in a short run.
_WEIGHTING_PACE = 10.0


class Learner:
    """A network with its optimizer and average. Use as a context manager: leaving it ends its threads."""

    def __init__(self, network: Network, config: Config, criterion: Criterion, device: torch.device) -> None:
        self.network = network
        self.config = config
        self.criterion = criterion.to(device)
        self.device = device
        self.ema = EMA(network, config.training.ema_decay)
        self._replicas: Replicas | None = None
        count = 1
        if device.type == "cpu":
            count = replica_count(torch.get_num_threads(), config.training.batch_size)
            self._replicas = Replicas(network, config, self.criterion, count)
        self.optimizer = Optimizer(network, config.training, parts=count)
        if weighting := list(criterion.parameters()):
            self.optimizer.add(weighting, _WEIGHTING_PACE)

    def gradients(self, batch: TrainingBatch, half: bool, seed: tuple[int, ...]) -> Tensor:
        """Put the gradient of a CPU batch's objective into the parameters; returns the objective, a scalar.

        half: in bf16. `seed` fixes the dropout masks on a CPU; elsewhere torch's own generator does.
        """
        self.optimizer.zero_grad()
        if self._replicas is not None:
            return self._replicas.gradients(batch, half, seed)
        self.network.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            work = plan(self.config, batch.to(self.device))
            loss = objective(self.network, self.config, work, self.criterion)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def step(self, batch: TrainingBatch, half: bool, seed: tuple[int, ...], learning_rate: float) -> Tensor:
        """Take one step on a CPU batch; returns its objective before the step, a scalar on the device."""
        loss = self.gradients(batch, half, seed)
        self._together(self._clip)
        self._together(*self.optimizer.steps(learning_rate))
        self._together(lambda: self.ema.update(self.network))
        return loss

    def _clip(self) -> None:
        nn.utils.clip_grad_norm_(self.network.parameters(), self.config.training.gradient_clip, foreach=True)

    def _together(self, *parts: Callable[[], object]) -> None:
        """Do all of these, on a CPU in the replicas' threads."""
        if self._replicas is not None:
            self._replicas.call(*parts)
        else:
            for part in parts:
                part()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._replicas is not None:
            self._replicas.__exit__(kind, error, trace)
