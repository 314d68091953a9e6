"""Where T comes from: given, from the labels, or from the gradients of the tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from model.config import Config
from model.data.dataset import Split
from model.network import Network
from model.training.batches import TrainingBatch
from model.training.losses import task_loss

_BINS = 8


def given_relation(config: Config) -> list[list[int]]:
    """T of the config's pairs: (k, j) lets task k read from task j."""
    tasks = list(config.tasks)
    relation = np.zeros((len(tasks), len(tasks)), dtype=np.int64)
    for k, j in config.relation.pairs:
        relation[tasks.index(k), tasks.index(j)] = 1
    return _clean(relation)


def label_affinity(config: Config, split: Split) -> NDArray[np.float64]:
    """How much knowing task j's label tells of task k's: [K, K] in 0..1, zero on the diagonal.

    The uncertainty coefficient I(k; j) / H(k) on the samples that have both labels (Theil, 1970), so it need not be
    symmetric: a fine label fixes a coarse one, not the other way round. Regression labels are cut into 8 quantiles.
    """
    names = list(config.tasks)
    codes = [_codes(config.tasks[name].kind, split.labels[name]) for name in names]
    affinity = np.zeros((len(names), len(names)))
    for k, own in enumerate(codes):
        for j, other in enumerate(codes):
            both = (own >= 0) & (other >= 0)
            if k == j or not both.any():
                continue
            table = np.zeros((own.max() + 1, other.max() + 1))
            np.add.at(table, (own[both], other[both]), 1)
            joint = table / table.sum()
            entropy = _entropy(joint.sum(1))
            information = entropy + _entropy(joint.sum(0)) - _entropy(joint.ravel())
            affinity[k, j] = information / entropy if entropy > 1e-9 else 0.0
    return affinity


def gradient_affinity(config: Config, network: Network, batches: Iterable[TrainingBatch]) -> NDArray[np.float64]:
    """Cosine between the tasks' gradients with respect to the fused vector z, a mean over batches: [K, K].

    Source: Fifty et al., "Efficiently Identifying Task Groupings", 2021, and Yu et al., "Gradient Surgery", 2020, whose
    measure on the shared parameters is taken here on the shared representation, at the price of one backward pass.
    """
    names = list(config.tasks)
    total = np.zeros((len(names), len(names)))
    count = 0
    network.eval()
    for batch in batches:
        with torch.no_grad():
            z, _ = network.fusion(network.encode(batch.inputs, batch.present))
        z = z.float().detach().requires_grad_()
        raw = network.heads(network.task_relation(network.shared_network(z)), names)
        gradients = []
        for name in names:
            loss = task_loss(config.tasks[name], raw[name], batch.targets[name])
            (gradient,) = torch.autograd.grad(loss, z, retain_graph=True)
            gradients.append(gradient.flatten())
        stacked = torch.nn.functional.normalize(torch.stack(gradients), dim=1)
        total += (stacked @ stacked.T).double().cpu().numpy()
        count += 1
    affinity = total / max(count, 1)
    np.fill_diagonal(affinity, 0.0)
    return affinity


def threshold(affinity: NDArray[np.float64], least: float) -> list[list[int]]:
    """T from an affinity: related where it reaches `least`."""
    return _clean((affinity >= least).astype(np.int64))


def _clean(relation: NDArray[np.int64]) -> list[list[int]]:
    np.fill_diagonal(relation, 0)
    return [[int(value) for value in row] for row in relation]


def _codes(kind: str, labels: NDArray[np.generic]) -> NDArray[np.int64]:
    """Labels as class numbers, -1 where missing."""
    if kind == "multilabel":
        missing = np.isnan(labels).any(axis=1)
        _, codes = np.unique(np.nan_to_num(labels), axis=0, return_inverse=True)
        return np.where(missing, -1, codes.reshape(-1)).astype(np.int64)
    if kind == "regression":
        missing = np.isnan(labels)
        if missing.all():
            return np.full(len(labels), -1, dtype=np.int64)
        edges = np.quantile(labels[~missing], np.linspace(0, 1, _BINS + 1)[1:-1])
        return np.where(missing, -1, np.searchsorted(edges, np.nan_to_num(labels))).astype(np.int64)
    return labels.astype(np.int64)


def _entropy(probabilities: NDArray[np.float64]) -> float:
    positive = probabilities[probabilities > 0]
    return float(-(positive * np.log(positive)).sum())


def describe(affinity: NDArray[np.float64], tasks: Mapping[str, object]) -> dict[str, dict[str, float]]:
    """An affinity as nested names, for the bundle's provenance."""
    names = list(tasks)
    return {k: {j: round(float(affinity[a, b]), 3) for b, j in enumerate(names) if a != b} for a, k in enumerate(names)}
