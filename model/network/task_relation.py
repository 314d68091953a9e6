"""Task relation T: related tasks read from one another before their heads answer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class TaskRelation(nn.Module):
    """t_k = GELU(U_k h), then t'_k = t_k + γ_k Σ_j R_kj A t_j with R = row-normalised(T ⊙ σ(Θ)).

    T in {0,1}^(K×K): T_kj = 1 lets task k read from task j. T = 0 is exactly hard sharing; T_kj = 0 means no path
    from task j to task k.
    """

    T: Tensor
    _read: Tensor

    def __init__(self, relation: Tensor, width: int, task_width: int) -> None:
        """Build for `relation` T [K, K] of zeros and ones; its diagonal must be zero."""
        super().__init__()
        tasks = relation.shape[0]
        if relation.shape != (tasks, tasks) or bool(relation.diagonal().any()):
            raise ValueError("T must be square with a zero diagonal: a task is not related to itself")
        if bool(((relation != 0) & (relation != 1)).any()):
            raise ValueError("T holds zeros and ones only")
        self.register_buffer("T", relation.float())
        # Kept outside the tensor too, so that choosing rows never waits for a device.
        self._sources = [[j for j in range(tasks) if relation[k, j]] for k in range(tasks)]
        read = torch.tensor(sorted({j for row in self._sources for j in row}), dtype=torch.int64)
        self.register_buffer("_read", read, persistent=False)  # the tasks that any task reads from
        self.U = nn.Parameter(torch.empty(tasks, width, task_width))
        self.bias = nn.Parameter(torch.zeros(tasks, task_width))
        # All tasks start from the same U: the penalty then measures how far they have moved apart.
        first = torch.empty(width, task_width)
        nn.init.xavier_uniform_(first)
        with torch.no_grad():
            self.U.copy_(first.expand(tasks, -1, -1) + 0.01 * torch.randn(tasks, width, task_width))
        self.theta = nn.Parameter(torch.zeros(tasks, tasks))
        self.A = nn.Parameter(torch.eye(task_width))
        self.gamma = nn.Parameter(torch.full((tasks,), 0.1))

    def R(self) -> Tensor:
        """How much each task reads from each other one: [K, K], each row sums to 1, or to 0 without relations."""
        weights = self.T * torch.sigmoid(self.theta)
        return weights / weights.sum(1, keepdim=True).clamp(min=1e-12)

    def forward(self, h: Tensor, tasks: Sequence[int] | None = None) -> Tensor:
        """Give t' [B, len(tasks), task_width] for h [B, d]; every task when `tasks` is None.

        Only the asked tasks and those that they read from are computed.
        """
        everything = list(range(len(self._sources)))
        asked = everything if tasks is None else list(tasks)
        sources = sorted({j for k in asked for j in self._sources[k]})
        if not sources:
            return self._own(h, asked)
        if asked == everything:
            # By a tensor that lies beside the weights: a list would be copied to the device at every call.
            own = self._own(h, everything)
            weights, read = self.R().index_select(1, self._read), own.index_select(1, self._read)
            gamma: Tensor = self.gamma
        else:
            needed = sorted({*asked, *sources})
            t = self._own(h, needed)
            own, read = t[:, [needed.index(k) for k in asked]], t[:, [needed.index(j) for j in sources]]
            weights, gamma = self.R()[asked][:, sources], self.gamma[asked]
        read = torch.einsum("kj,bjw->bkw", weights.to(own.dtype), read)
        return own + gamma.to(own.dtype)[:, None] * (read @ self.A.to(own.dtype))

    def _own(self, h: Tensor, tasks: list[int]) -> Tensor:
        weight: Tensor = self.U
        bias: Tensor = self.bias
        if tasks != list(range(len(self._sources))):
            weight, bias = weight[tasks], bias[tasks]
        return functional.gelu(torch.einsum("bd,kdw->bkw", h, weight) + bias)

    def penalty(self) -> Tensor:
        """Σ T_ij ‖U_i − U_j‖², a scalar: related tasks keep alike parameters.

        Source: Evgeniou and Pontil, "Regularized Multi-Task Learning", 2004.
        """
        pairs = self.T.nonzero()
        if not len(pairs):
            return self.U.new_zeros(())
        return (self.U[pairs[:, 0]] - self.U[pairs[:, 1]]).square().sum()
