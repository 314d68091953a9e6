"""Losses: what each kind of task minimises, on one scale, rows without a label left out."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from model.config import Task


def task_loss(task: Task, raw: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
    """Mean loss over the labelled rows, a scalar; zero when no row has a label.

    raw: [B, size]; target: int64 [B] with -1 missing, float [B, C] or [B] with NaN missing, as the kind has it.
    Each loss is divided by that of a know-nothing answer (log C for C classes), so that tasks weigh alike.
    """
    raw = raw.float()
    if task.kind == "multiclass":
        classes = raw.shape[1]
        labelled = target >= 0
        if not bool(labelled.any()):
            return raw.sum() * 0.0
        loss = functional.cross_entropy(raw, target, ignore_index=-1, label_smoothing=smoothing)
        return loss / math.log(classes)
    if task.kind == "ordinal":
        return _corn(raw, target)
    if task.kind == "binary":
        labelled = target >= 0
        return _mean(
            functional.binary_cross_entropy_with_logits(raw[:, 0], target.clamp(min=0).float(), reduction="none"),
            labelled,
        ) / math.log(2)
    if task.kind == "multilabel":
        labelled = ~torch.isnan(target)
        loss = functional.binary_cross_entropy_with_logits(raw, torch.nan_to_num(target), reduction="none")
        return _mean(loss, labelled) / math.log(2)
    labelled = ~torch.isnan(target)
    mean, deviation = task.scale or (0.0, 1.0)
    scaled = (torch.nan_to_num(target) - mean) / deviation
    return _mean(functional.smooth_l1_loss(raw[:, 0], scaled, reduction="none"), labelled) * 2


def _mean(values: Tensor, labelled: Tensor) -> Tensor:
    return (values * labelled).sum() / labelled.sum().clamp(min=1)


def _corn(raw: Tensor, target: Tensor) -> Tensor:
    """Conditional binary losses, one a threshold, on the samples that reach it (Shi, Cao and Raschka, 2021)."""
    thresholds = torch.arange(raw.shape[1], device=raw.device)
    # Threshold j learns from the samples at or above class j: is the value higher still?
    counts = (target[:, None] >= thresholds) & (target[:, None] >= 0)  # (B, C - 1)
    higher = (target[:, None] > thresholds).float()
    loss = functional.binary_cross_entropy_with_logits(raw, higher, reduction="none")
    labelled = (target >= 0).sum().clamp(min=1)
    # Summed over thresholds this is −log P(y), the cross-entropy of the class probabilities.
    return (loss * counts).sum() / labelled / math.log(raw.shape[1] + 1)


def total_loss(
    tasks: Mapping[str, Task], raw: Mapping[str, Tensor], targets: Mapping[str, Tensor], smoothing: float = 0.0
) -> Tensor:
    """Weighted mean of the tasks' losses, a scalar."""
    weights = sum(tasks[name].weight for name in raw)
    parts = [tasks[name].weight * task_loss(tasks[name], raw[name], targets[name], smoothing) for name in raw]
    return torch.stack(parts).sum() / weights
