"""One batch computed by several threads, each with a copy of the network that shares its weights.

Two threads of one core each, that work on half of the batch side by side, waste less than one that asks for both
cores in each of a thousand small operations. Statistics and sums are taken over the whole batch, so that the gradient
is that of one network; only its rounding knows how many threads there were.
"""

from __future__ import annotations

import copy
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

import torch
from torch import Tensor, nn

from model.config import Config
from model.network import Network
from model.training.batches import TrainingBatch
from model.training.criterion import Criterion
from model.training.exchange import Exchange, Party
from model.training.kernels import TrainingKernels
from model.training.objective import Work, objective, plan, shares

Module = TypeVar("Module", bound=nn.Module)

# Fewer rows keep a core less busy than its thread costs.
_LEAST_ROWS = 32


def replica_count(threads: int, batch_size: int) -> int:
    """How many replicas make the best of so many threads."""
    return max(1, min(threads, batch_size // _LEAST_ROWS))


class Replicas:
    """A network and its copies on the CPU. Use as a context manager: leaving it ends the threads."""

    def __init__(self, network: Network, config: Config, criterion: Criterion, count: int) -> None:
        """`count` replicas divide torch's present number of threads."""
        self._config = config
        self._networks = [network, *(_twin(network) for _ in range(count - 1))]
        self._criteria = [criterion, *(_twin(criterion) for _ in range(count - 1))]
        self._threads = torch.get_num_threads()
        self._exchange = Exchange(count)
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="replica")
        # Each thread has a setting of its own; what the last call says is also what later threads begin with.
        started = threading.Barrier(count)
        for future in [self._pool.submit(self._begin, started) for _ in range(count)]:
            future.result()
        torch.set_num_threads(self._threads)

    def _begin(self, started: threading.Barrier) -> None:
        torch.set_num_threads(max(1, self._threads // len(self._networks)))
        started.wait()
        # A thread reads the setting once, when it first needs it: now, before another is made.
        torch.get_num_threads()

    def gradients(self, batch: TrainingBatch, half: bool, seed: tuple[int, ...]) -> Tensor:
        """Add the gradient of a batch's objective to the network's; returns the objective, a scalar.

        half: in bf16. `seed` fixes the dropout masks.
        """
        work = plan(self._config, batch)
        count = len(self._networks) if _divisible(batch, len(self._networks)) else 1
        parts = work.parts(count)
        if count == 1:
            return self._pool.submit(self._run, 0, parts[0], half, seed, None).result()
        parties = [Party(self._exchange, rank) for rank in range(count)]
        futures = [
            self._pool.submit(self._run, rank, part, half, (*seed, rank), parties[rank])
            for rank, part in enumerate(parts)
        ]
        errors = [error for future in futures if (error := future.exception()) is not None]
        if errors:
            self._exchange.reset()
            # Those that waited for the one that failed say only that they did.
            raise next((e for e in errors if not isinstance(e, threading.BrokenBarrierError)), errors[0])
        self.call(self._gather)
        return torch.stack([future.result() for future in futures]).sum()

    def call(self, *parts: Callable[[], object]) -> None:
        """Do these in the replicas' threads, on those threads' cores, and return when all are done.

        On the caller's, which are all, the helpers of each small operation would stay awake for a while and take the
        cores from the replicas.
        """
        for future in [self._pool.submit(part) for part in parts]:
            future.result()

    def _run(self, rank: int, work: Work, half: bool, seed: tuple[int, ...], party: Party | None) -> Tensor:
        network = self._networks[rank]
        network.train()
        try:
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                with TrainingKernels(seed, party):
                    loss = objective(network, self._config, work, self._criteria[rank], party)
                if party is not None:
                    # The end of autocast forgets the cast weights of all threads: nobody may still be using them.
                    party.meet(None)
            loss.backward()  # type: ignore[no-untyped-call]
        except BaseException:
            self._exchange.abort()
            raise
        return loss.detach()

    def _gather(self) -> None:
        """Sum the copies' gradients into the network's and the criterion's own."""
        for twin, criterion in zip(self._networks[1:], self._criteria[1:], strict=True):
            into: list[Tensor] = []
            added: list[Tensor] = []
            mine = itertools.chain(self._networks[0].parameters(), self._criteria[0].parameters())
            for own, other in zip(mine, itertools.chain(twin.parameters(), criterion.parameters()), strict=True):
                if other.grad is None:
                    continue
                if own.grad is None:
                    own.grad = other.grad
                else:
                    into.append(own.grad)
                    added.append(other.grad)
                other.grad = None
            if into:
                torch._foreach_add_(into, added)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exchange.abort()
        self._pool.shutdown()


def _twin(module: Module) -> Module:
    """A copy with gradients and running statistics of its own and the same weights in the same memory."""
    twin = copy.deepcopy(module)
    for own, shared in zip(twin.parameters(), module.parameters(), strict=True):
        own.data = shared.data
        own.grad = None
    return twin


def _divisible(batch: TrainingBatch, count: int) -> bool:
    """Whether every part has what the others have: parts that ran other layers would wait for each other for ever."""
    if count == 1 or len(batch.present) < 2 * count:
        return False
    has = torch.stack([batch.present[a:b].any(0) for a, b in shares(len(batch.present), count)])
    return bool((has == has[0]).all())
