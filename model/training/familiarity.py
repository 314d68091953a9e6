"""Fitting familiarity: groups and covariances from training inputs, the curves from validation inputs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh  # type: ignore[import-untyped]
from sklearn.cluster import KMeans  # type: ignore[import-untyped]
from sklearn.covariance import ledoit_wolf_shrinkage  # type: ignore[import-untyped]
from sklearn.exceptions import ConvergenceWarning  # type: ignore[import-untyped]
from torch import Tensor

from model.familiarity import Curve, fit_curve
from model.network import Network
from model.network.familiarity import Familiarity, RelativeDistance, features
from model.training.batches import BatchMaker

FloatArray = NDArray[np.float64]

MOST_ROWS = 12_000  # training rows that are looked at; more change nothing
_MOST_GROUPS, _ROWS_A_GROUP = 64, 10
# Directions in which features hardly vary would count for more than arithmetic in bf16 can tell.
_LEAST_SHRINKAGE = 0.01


def fit_familiarity(network: Network, train: BatchMaker, val: BatchMaker) -> dict[str, Curve]:
    """Give a trained network its familiarity, in the place of what it may have; returns each modality's curve.

    A modality that fewer than two training rows or no validation row have gets no curve. Where none gets one, the
    network has no familiarity.
    """
    rows = np.random.default_rng(0).permutation(len(train.split))[:MOST_ROWS]
    seen = collect_features(network, train, np.sort(rows))
    enough = {name: values for name, values in seen.items() if len(values) > 1}
    fitted = {name: fit_distance(values) for name, values in enough.items()}
    absent = RelativeDistance(1, 2 * network.width)
    network.familiarity = Familiarity(
        [len(fitted.get(name, absent).groups) for name in network.modalities], network.width
    )
    for place, name in zip(network.familiarity.inputs, network.modalities, strict=True):
        place.load_state_dict(fitted.get(name, absent).state_dict())
    network.familiarity.to(next(network.parameters()).device)
    distances = distances_of(network.familiarity, network.modalities, collect_features(network, val))
    curves = {name: fit_curve(values) for name, values in distances.items() if name in fitted}
    found = {name: curve for name, curve in curves.items() if curve is not None}
    if not found:
        network.familiarity = None
    return found


@torch.inference_mode()
def collect_features(
    network: Network, maker: BatchMaker, rows: NDArray[np.int64] | None = None, batch_size: int = 256
) -> dict[str, FloatArray]:
    """The features of a split's inputs, or of some rows': modality -> [n, 2 d], of the n rows that have it."""
    network.eval()
    device = next(network.parameters()).device
    chosen = np.arange(len(maker.split)) if rows is None else rows
    found: dict[str, list[Tensor]] = {name: [] for name in network.modalities}
    for start in range(0, len(chosen), batch_size):
        batch = maker.make(chosen[start : start + batch_size]).to(device)
        encoded = network.encode(batch.inputs, batch.present)
        for column, name in enumerate(network.modalities):
            found[name].append(features(encoded, column)[encoded.present[:, column]].double().cpu())
    return {
        name: torch.cat(parts).numpy() if parts else np.zeros((0, 2 * network.width)) for name, parts in found.items()
    }


@torch.inference_mode()
def distances_of(
    familiarity: Familiarity, modalities: list[str], values: Mapping[str, FloatArray]
) -> dict[str, NDArray[np.float32]]:
    """Distances of features as the network tells them: modality -> [n]."""
    device = next(familiarity.buffers()).device
    return {
        name: one(torch.from_numpy(values[name]).float().to(device)).cpu().numpy()
        for name, one in zip(modalities, familiarity.inputs, strict=True)
        if name in values
    }


def fit_distance(values: FloatArray, members: NDArray[np.integer] | None = None) -> RelativeDistance:
    """The relative distance for a modality of which these are training features [n, width], n >= 2.

    `members`: the group of each, [n]; left out, k-means finds groups, so that no labels are needed. Covariances are
    shrunk after Ledoit and Wolf ("A Well-Conditioned Estimator for Large-Dimensional Covariance Matrices", 2004), and
    by 1 % at least.
    """
    count, width = values.shape
    center = values.mean(0)
    values = values - center
    if members is None:
        members = _clusters(values, max(1, min(_MOST_GROUPS, count // _ROWS_A_GROUP)))
    known, own = np.unique(members, return_inverse=True)
    groups = np.stack([values[own == group].mean(0) for group in range(len(known))])
    within = values - groups[own]
    variances, basis = eigh(_covariance(values, count), _covariance(within, max(1, count - len(groups))))
    groups = groups @ basis
    distance = RelativeDistance(len(groups), width)
    fitted = {
        "center": center,
        "basis": basis,
        "groups": groups,
        "half_norms": 0.5 * np.square(groups).sum(1),
        "weights": 1 / variances,
    }
    distance.load_state_dict({name: torch.from_numpy(found).float() for name, found in fitted.items()})
    return distance


def _clusters(values: FloatArray, count: int) -> NDArray[np.integer]:
    with warnings.catch_warnings():
        # Where inputs repeat, there are fewer different ones than clusters, which does no harm.
        warnings.simplefilter("ignore", ConvergenceWarning)
        members: NDArray[np.integer] = KMeans(count, n_init=1, random_state=0).fit(values).labels_
    return members


def _covariance(deviations: FloatArray, degrees: int) -> FloatArray:
    """The covariance of deviations [n, width] from their means, well-conditioned for any n."""
    width = deviations.shape[1]
    plain = deviations.T @ deviations / degrees
    share = max(_LEAST_SHRINKAGE, float(ledoit_wolf_shrinkage(deviations, assume_centered=True)))
    variance = max(float(np.trace(plain)) / width, 1e-12)
    return np.asarray((1 - share) * plain + share * variance * np.eye(width))
