"""Losses: what each kind of task minimises, on one scale, rows without a label left out."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from model.config import Task
from model.training.imbalance import Balance


def row_losses(
    task: Task, raw: Tensor, target: Tensor, smoothing: float = 0.0, balance: Balance | None = None
) -> Tensor:
    """What each row costs, float [B]; zero in a row without a label.

    raw: [B, size]; target: int64 [B] with -1 missing, float [B, C] or [B] with NaN missing, as the kind has it.
    Each loss is divided by that of a know-nothing answer (log C for C classes), so that tasks weigh alike. `balance`
    makes up for rare classes: logit adjustment (Menon et al., "Long-Tail Learning via Logit Adjustment", 2021) or
    weights by the effective number of samples (Cui et al., "Class-Balanced Loss", 2019).
    """
    raw = raw.float()
    offset, weight = (None, None) if balance is None else (balance.offset, balance.weight)
    if task.kind in ("multiclass", "ordinal"):
        if task.kind == "ordinal" and offset is None:
            loss = _corn(raw, target)
        else:
            logits = raw if task.kind == "multiclass" else _log_probabilities(raw)
            if offset is not None:
                logits = logits + offset
            smoothed = smoothing if task.kind == "multiclass" else 0.0
            loss = functional.cross_entropy(
                logits, target, ignore_index=-1, label_smoothing=smoothed, reduction="none"
            ) / math.log(logits.shape[1])
        return loss if weight is None else loss * weight[target.clamp(min=0)]
    if task.kind in ("binary", "multilabel"):
        wanted = target.reshape(raw.shape).float()
        known = wanted >= 0  # false for a NaN too
        wanted = torch.nan_to_num(wanted).clamp(min=0)
        logits = raw if offset is None else raw + offset
        loss = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        if weight is not None:
            loss = loss * torch.where(wanted > 0.5, weight[1], weight[0])
        return (loss * known).sum(1) / math.log(2)
    mean, deviation = task.scale or (0.0, 1.0)
    scaled = (torch.nan_to_num(target) - mean) / deviation
    return functional.smooth_l1_loss(raw[:, 0], scaled, reduction="none") * ~torch.isnan(target) * 2


def label_count(target: Tensor, rows: Tensor | None = None) -> Tensor:
    """How many labels there are in the rows for which `rows`, bool [B], is true: a scalar.

    A multilabel row holds as many as there are classes.
    """
    labelled = ~torch.isnan(target) if target.dtype.is_floating_point else target >= 0
    if rows is not None:
        labelled = labelled & (rows if target.dim() == 1 else rows[:, None])
    return labelled.sum()


def task_loss(task: Task, raw: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
    """Mean loss over the labels, a scalar; zero when no row has one."""
    return row_losses(task, raw, target, smoothing).sum() / label_count(target).clamp(min=1)


def _corn(raw: Tensor, target: Tensor) -> Tensor:
    """Conditional binary losses, one a threshold, on the samples that reach it (Shi, Cao and Raschka, 2021)."""
    thresholds = torch.arange(raw.shape[1], device=raw.device)
    # Threshold j learns from the samples at or above class j: is the value higher still?
    counts = (target[:, None] >= thresholds) & (target[:, None] >= 0)  # (B, C - 1)
    higher = (target[:, None] > thresholds).float()
    loss = functional.binary_cross_entropy_with_logits(raw, higher, reduction="none")
    # Summed over thresholds this is −log P(y), the cross-entropy of the class probabilities.
    return (loss * counts).sum(1) / math.log(raw.shape[1] + 1)


def _log_probabilities(raw: Tensor) -> Tensor:
    """Log of `heads.ordinal_probabilities`: [B, C] from conditional logits [B, C - 1]."""
    above = functional.logsigmoid(raw).cumsum(1)  # (B, C - 1): log P(y > j)
    reached = torch.cat([torch.zeros_like(above[:, :1]), above], dim=1)
    return reached + torch.cat([functional.logsigmoid(-raw), torch.zeros_like(raw[:, :1])], dim=1)
