"""The objective of a training step: what one batch costs, in all the ways that its samples can be seen."""

from __future__ import annotations

import torch
from torch import Tensor

from model.config import Config
from model.network import Network
from model.training.batches import TrainingBatch
from model.training.losses import total_loss


def objective(network: Network, config: Config, batch: TrainingBatch) -> Tensor:
    """The loss of one batch, a scalar: all modalities, the same with fewer, each alone, and the penalty on T."""
    training, tasks = config.training, config.tasks
    encoded = network.encode(batch.inputs, batch.present)
    fused, _ = network.decode(encoded)
    loss = total_loss(tasks, fused, batch.targets, training.label_smoothing)
    if training.modality_dropout > 0 and batch.present.shape[1] > 1:
        narrowed = encoded.narrowed(drop_modalities(batch.present))
        fewer, _ = network.decode(narrowed)
        share = training.modality_dropout
        missing = total_loss(tasks, fewer, batch.targets, training.label_smoothing)
        loss = (1 - share) * loss + share * missing
    if training.auxiliary_weight > 0:
        for modality, raw in network.alone(encoded).items():
            has = batch.present[:, network.modalities.index(modality)]
            targets = {name: _hide(values, has) for name, values in batch.targets.items()}
            loss = loss + training.auxiliary_weight * total_loss(tasks, raw, targets, training.label_smoothing)
    if config.relation.penalty > 0:
        loss = loss + config.relation.penalty * network.task_relation.penalty()
    return loss


def drop_modalities(present: Tensor) -> Tensor:
    """Hide modalities at random so that at least one of each sample's own is left: bool [B, M] in and out."""
    rolls = torch.rand(present.shape, device=present.device).masked_fill(~present, -1.0)
    # A sample with several keeps those above a level drawn between its highest and lowest roll: never none, never all.
    highest = rolls.max(dim=1, keepdim=True).values
    several = present.sum(1, keepdim=True) > 1
    lowest = rolls.masked_fill(~present, 2.0).min(dim=1, keepdim=True).values
    level = lowest + (highest - lowest) * torch.rand_like(highest) * 0.999
    # The highest roll stays in any case: rolls are equal, or too near for the level to fall between, often enough.
    return torch.where(several, present & ((rolls > level) | (rolls == highest)), present)


def _hide(target: Tensor, has: Tensor) -> Tensor:
    """The labels of the samples for which `has`, bool [B], is true; the others as missing."""
    if target.dtype.is_floating_point:
        mask = has if target.dim() == 1 else has[:, None]
        return torch.where(mask, target, torch.full_like(target, float("nan")))
    return torch.where(has, target, torch.full_like(target, -1))
