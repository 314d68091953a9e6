"""What a batch's answers cost: a loss a task, and how the tasks' losses, or their gradients, become one."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from model.config import Config, ConfigError
from model.data.labels import Labels
from model.training.exchange import Party
from model.training.imbalance import Balance
from model.training.losses import label_count, row_losses

# What the library calls each method, and what it needs besides itself.
_GRADIENT_METHODS = {
    "upgrad": ("UPGradWeighting", ("qpsolvers", "quadprog")),
    "mgda": ("MGDAWeighting", ()),
    "pcgrad": ("PCGradWeighting", ()),
}


class Criterion(nn.Module):
    """The losses of a config's tasks, and their weighting (`training.task_weighting`).

    Each loss is divided by that of a know-nothing answer. `equal` takes the mean by the tasks' own weights.
    `uncertainty` learns a variance a task besides (Kendall, Gal and Cipolla, "Multi-Task Learning Using Uncertainty to
    Weigh Losses", 2018). The others see one gradient a task with respect to h, which all tasks read from, and make one
    of them: `upgrad` (Quinton and Rey, "Jacobian Descent for Multi-Objective Optimization", 2024), `mgda` (Sener and
    Koltun, "Multi-Task Learning as Multi-Objective Optimization", 2018), `pcgrad` (Yu et al., "Gradient Surgery for
    Multi-Task Learning", 2020). What lies behind h, each task's own, learns from the mean.
    """

    shares: Tensor
    variance_factor: Tensor

    def __init__(self, config: Config, labels: Mapping[str, Labels] | None = None) -> None:
        """`labels`: those of the training rows, needed where a task asks to make up for rare classes.

        Raises ConfigError for a method whose library is not installed.
        """
        super().__init__()
        self.tasks = dict(config.tasks)
        self.smoothing = config.training.label_smoothing
        self.method = config.training.task_weighting
        self.balances = nn.ModuleList(
            Balance(task, labels[name]) if task.imbalance != "none" and labels is not None else nn.Identity()
            for name, task in self.tasks.items()
        )
        if labels is None and any(task.imbalance != "none" for task in self.tasks.values()):
            raise ValueError("the labels of the training rows are needed to count classes")
        weights = torch.tensor([task.weight for task in self.tasks.values()])
        self.register_buffer("shares", weights / weights.sum(), persistent=False)
        # 1/σ² of a likelihood over classes, 1/2σ² of one over numbers.
        factor = torch.tensor([0.5 if task.kind == "regression" else 1.0 for task in self.tasks.values()])
        self.register_buffer("variance_factor", factor, persistent=False)
        self.log_variances = nn.Parameter(torch.zeros(len(self.tasks))) if self.method == "uncertainty" else None
        self._weigh = _gradient_weighting(self.method) if self.method in _GRADIENT_METHODS else None

    def losses(
        self,
        raw: Mapping[str, Tensor],
        targets: Mapping[str, Tensor],
        *,
        counts: Mapping[str, Tensor] | None = None,
        row_weights: Tensor | None = None,
    ) -> Tensor:
        """Each task's mean loss, [K]; 0 for a task that no row has a label of.

        `counts`: the labels of each task that the means are taken over, those of `targets` when left out: more where
        these rows are a part of a batch, fewer where rows are given more than once. `row_weights` [B] multiply each
        row's loss.
        """
        means = []
        for (name, task), balance in zip(self.tasks.items(), self.balances, strict=True):
            own = balance if isinstance(balance, Balance) else None
            rows = row_losses(task, raw[name], targets[name], self.smoothing, own)
            if row_weights is not None:
                rows = rows * row_weights
            count = label_count(targets[name]) if counts is None else counts[name]
            means.append(rows.sum() / count.clamp(min=1))
        return torch.stack(means)

    def mean(self, losses: Tensor) -> Tensor:
        """The tasks' losses [K] as one, a scalar, weighted as the tasks are; variances are used and not learned."""
        if self.log_variances is not None:
            losses = losses * self.variance_factor * torch.exp(-self.log_variances.detach())
        return (losses * self.shares).sum()

    def combine(
        self,
        h: Tensor,
        losses_of: Callable[[Tensor], Tensor],
        counts: Mapping[str, Tensor],
        *,
        leads: bool = True,
        party: Party | None = None,
    ) -> Tensor:
        """The tasks' losses as one, a scalar whose gradient is that of the weighting.

        h: the shared representation [B, d]; `losses_of` gives the losses [K] for it; `counts`: each task's labels in
        the whole batch. Where a batch is divided, `leads` is true in one part, and `party` reaches the others: the
        weights are those of the whole batch.
        """
        if self._weigh is not None:
            return self._by_gradients(h, losses_of, party)
        losses = losses_of(h)
        if self.log_variances is None:
            return self.mean(losses)
        total = (losses * self.variance_factor * torch.exp(-self.log_variances) * self.shares).sum()
        if not leads:
            return total
        # What keeps a variance from growing for ever. Without a label there is nothing to weigh it against.
        labelled = torch.stack([counts[name] > 0 for name in self.tasks])
        return total + (0.5 * self.log_variances * self.shares * labelled).sum()

    def _by_gradients(self, h: Tensor, losses_of: Callable[[Tensor], Tensor], party: Party | None) -> Tensor:
        leaf = h.detach().requires_grad_()
        losses = losses_of(leaf)
        # Rows on the scale of the mean's terms, so that a method that finds no conflict changes nothing.
        parts = (losses * self.shares * len(losses)).unbind()
        # As every backward pass, not under autocast: the three digits of bf16 products hide small conflicts.
        with torch.autocast(h.device.type, enabled=False):
            rows = [torch.autograd.grad(part, leaf, retain_graph=True)[0].flatten().float() for part in parts]
            jacobian = torch.stack(rows)  # (K, B · d)
            gramian = (jacobian @ jacobian.T).double().cpu()
        if party is None:
            weights = self._weights(gramian)
        else:
            # Parts have different rows of h, so their Gramians add up. One decides for all: a method may draw.
            gramian = torch.stack(party.meet(gramian)).sum(0)
            weights = party.meet(self._weights(gramian) if party.rank == 0 else None)[0]
        with torch.autocast(h.device.type, enabled=False):
            combined = (weights.to(jacobian) @ jacobian).view_as(h).to(h.dtype)
        through = (h * combined).sum()
        # The value is the mean of the losses; behind h its gradient is the mean's, before h the combined one.
        return (losses * self.shares).sum() + (through - through.detach())

    def _weights(self, gramian: Tensor) -> Tensor:
        """What each task's gradient counts, [K], from their products [K, K]; 0 for a task without a label."""
        assert self._weigh is not None
        # A row of zeros is a task without a label here: it takes no part, or a method would stop for its sake. One that
        # is no number ends the run at the end of the epoch, by its loss; a solver would end it with a riddle.
        squares = gramian.diagonal()
        live = ((squares > 0) & squares.isfinite()).nonzero().squeeze(1)
        weights = gramian.new_zeros(len(gramian))
        if len(live):
            found = self._weigh(gramian[live][:, live])
            if self.method == "pcgrad":
                found = found / len(live)  # the only method that gives a sum in the place of a mean
            weights[live] = found * len(live) / len(gramian)
        return weights


def _gradient_weighting(method: str) -> Any:
    """The library's weighting of gradients by their products."""
    name, solvers = _GRADIENT_METHODS[method]
    missing = [library for library in ("torchjd", *solvers) if importlib.util.find_spec(library) is None]
    if missing:
        raise ConfigError(
            f"training.task_weighting {method} needs {' and '.join(missing)}: pip install 'trunkline[train]'"
        )
    from torchjd import aggregation

    return getattr(aggregation, name)()
