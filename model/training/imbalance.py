"""Rare classes: what the loss adds or multiplies so that they are not drowned by frequent ones."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.config import Task
from model.data.labels import Labels
from model.metrics import labelled_rows

# β of Cui et al.: a class's weight stops falling at about a thousand samples.
_EFFECTIVE = 0.999


class Balance(nn.Module):
    """How the training loss of one task makes up for classes that are rare; what is served knows nothing of it.

    `offset`: added to the log-probabilities [C] or log-odds [C] of the answer, None without logit adjustment.
    `weight`: what each class's rows count, mean 1 over the training rows: [C], for binary and multilabel [2, C] with
    the weights of "no" first; None without class weights.
    """

    offset: Tensor | None
    weight: Tensor | None

    def __init__(self, task: Task, labels: Labels) -> None:
        """Count the classes of the training rows; `labels` as `model.data.dataset.Split` has them."""
        super().__init__()
        counts = class_counts(task, labels)
        offset = weight = None
        if task.imbalance == "logit_adjustment":
            log = np.log(counts)
            offset = log - np.log(counts.sum()) if counts.ndim == 1 else log[1] - log[0]
        elif task.imbalance == "class_weights":
            weight = (1 - _EFFECTIVE) / (1 - _EFFECTIVE**counts)
            weight = weight * counts.sum(0) / (weight * counts).sum(0)
        self.register_buffer("offset", _tensor(offset), persistent=False)
        self.register_buffer("weight", _tensor(weight), persistent=False)


def class_counts(task: Task, labels: Labels) -> NDArray[np.float64]:
    """How many rows each class has, at least 1: [C]; for binary and multilabel [2, C], those without it first."""
    known = labels[labelled_rows(task, labels)]
    if task.kind in ("multiclass", "ordinal"):
        counts = np.bincount(known.astype(np.int64), minlength=len(task.labels)).astype(np.float64)
    else:
        has = (known.reshape(len(known), -1) > 0.5).sum(0).astype(np.float64)
        counts = np.stack([len(known) - has, has])
    # A class that no training row has: as rare as one that is seen once.
    return np.asarray(counts.clip(min=1))


def _tensor(values: NDArray[np.float64] | None) -> Tensor | None:
    return None if values is None else torch.from_numpy(values).float()
