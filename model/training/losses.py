"""Losses: what each kind of task minimises, on one scale, rows without a label left out."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from model.config import Task


def row_losses(task: Task, raw: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
    """What each row costs, float [B]; zero in a row without a label.

    raw: [B, size]; target: int64 [B] with -1 missing, float [B, C] or [B] with NaN missing, as the kind has it.
    Each loss is divided by that of a know-nothing answer (log C for C classes), so that tasks weigh alike.
    """
    raw = raw.float()
    if task.kind == "multiclass":
        loss = functional.cross_entropy(raw, target, ignore_index=-1, label_smoothing=smoothing, reduction="none")
        return loss / math.log(raw.shape[1])
    if task.kind == "ordinal":
        return _corn(raw, target)
    if task.kind == "binary":
        wanted = target.clamp(min=0).float()
        loss = functional.binary_cross_entropy_with_logits(raw[:, 0], wanted, reduction="none")
        return loss * (target >= 0) / math.log(2)
    if task.kind == "multilabel":
        loss = functional.binary_cross_entropy_with_logits(raw, torch.nan_to_num(target), reduction="none")
        return (loss * ~torch.isnan(target)).sum(1) / math.log(2)
    mean, deviation = task.scale or (0.0, 1.0)
    scaled = (torch.nan_to_num(target) - mean) / deviation
    return functional.smooth_l1_loss(raw[:, 0], scaled, reduction="none") * ~torch.isnan(target) * 2


def label_count(target: Tensor, rows: Tensor | None = None) -> Tensor:
    """How many labels there are in the rows for which `rows`, bool [B], is true: a scalar, at least 1.

    A multilabel row holds as many as there are classes.
    """
    labelled = ~torch.isnan(target) if target.dtype.is_floating_point else target >= 0
    if rows is not None:
        labelled = labelled & (rows if target.dim() == 1 else rows[:, None])
    return labelled.sum().clamp(min=1)


def task_loss(task: Task, raw: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
    """Mean loss over the labels, a scalar; zero when no row has one."""
    return row_losses(task, raw, target, smoothing).sum() / label_count(target)


def _corn(raw: Tensor, target: Tensor) -> Tensor:
    """Conditional binary losses, one a threshold, on the samples that reach it (Shi, Cao and Raschka, 2021)."""
    thresholds = torch.arange(raw.shape[1], device=raw.device)
    # Threshold j learns from the samples at or above class j: is the value higher still?
    counts = (target[:, None] >= thresholds) & (target[:, None] >= 0)  # (B, C - 1)
    higher = (target[:, None] > thresholds).float()
    loss = functional.binary_cross_entropy_with_logits(raw, higher, reduction="none")
    # Summed over thresholds this is −log P(y), the cross-entropy of the class probabilities.
    return (loss * counts).sum(1) / math.log(raw.shape[1] + 1)


def total_loss(
    tasks: Mapping[str, Task],
    raw: Mapping[str, Tensor],
    targets: Mapping[str, Tensor],
    smoothing: float = 0.0,
    *,
    counts: Mapping[str, Tensor] | None = None,
    row_weights: Tensor | None = None,
) -> Tensor:
    """Weighted mean of the tasks' losses, a scalar.

    `counts`: the labels of each task that the means are taken over, those of `targets` when left out: more where these
    rows are a part of a batch, fewer where rows are given more than once. `row_weights` [B] multiply each row's loss.
    """
    weights = sum(tasks[name].weight for name in raw)
    parts = []
    for name, values in raw.items():
        rows = row_losses(tasks[name], values, targets[name], smoothing)
        if row_weights is not None:
            rows = rows * row_weights
        count = label_count(targets[name]) if counts is None else counts[name]
        parts.append(tasks[name].weight * rows.sum() / count)
    return torch.stack(parts).sum() / weights
