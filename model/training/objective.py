"""The objective of a training step: what one batch costs, in all the ways that its samples can be seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from model.config import Config
from model.network import Network
from model.network.fusion import Encoded
from model.network.multi_model import FUSED
from model.training.batches import TrainingBatch
from model.training.criterion import Criterion
from model.training.exchange import Party
from model.training.losses import label_count


@dataclass
class Work:
    """A batch, or a part of one, with what is drawn and counted over the whole of it.

    `kept` bool [B, M]: the modalities left to each sample where some are hidden, None where none are. `counts`: member
    ("fused" or a modality) -> task -> how many labels its mean is taken over. `leads`: true in one part of each batch,
    the one that pays what does not depend on samples.
    """

    batch: TrainingBatch
    kept: Tensor | None
    counts: dict[str, dict[str, Tensor]]
    leads: bool = True

    def parts(self, number: int) -> list[Work]:
        """The work in so many parts of nearly equal size, whose objectives sum to that of the whole."""
        return [
            Work(self.batch.rows(a, b), None if self.kept is None else self.kept[a:b], self.counts, leads=a == 0)
            for a, b in shares(len(self.batch.present), number)
        ]


def shares(size: int, number: int) -> list[tuple[int, int]]:
    """First row, and row after the last, of so many parts of nearly equal size."""
    return list(pairwise(size * part // number for part in range(number + 1)))


def plan(config: Config, batch: TrainingBatch) -> Work:
    """Draw which modalities are hidden, and count the labels."""
    counts = {FUSED: {name: label_count(target) for name, target in batch.targets.items()}}
    if config.training.auxiliary_weight > 0:
        for column, modality in enumerate(config.modalities):
            has = batch.present[:, column]
            counts[modality] = {name: label_count(target, has) for name, target in batch.targets.items()}
    return Work(batch, _draw(batch) if config.training.modality_dropout > 0 else None, counts)


def _draw(batch: TrainingBatch) -> Tensor | None:
    """The modalities that each sample keeps in its second view; None where that would be the first once more."""
    if batch.thinned is None:
        return drop_modalities(batch.present) if batch.present.shape[1] > 1 else None
    kept = drop_modalities(batch.thinned.present)
    # A text that lost words is another view by itself; half of those keep what else there is.
    whole = batch.thinned.changed & (torch.rand(len(kept), device=kept.device) < 0.5)
    return torch.where(whole[:, None], batch.thinned.present, kept)


def objective(network: Network, config: Config, work: Work, criterion: Criterion, party: Party | None = None) -> Tensor:
    """The loss of one batch, a scalar: all modalities, the same with fewer, each alone, and the penalty on T.

    `party` reaches the other parts of a divided batch.
    """
    training, batch = config.training, work.batch
    encoded = network.encode(batch.inputs, batch.present)
    targets: Mapping[str, Tensor] = batch.targets
    seen, second, weights = encoded, encoded, None
    if work.kept is not None:
        if batch.thinned is not None:
            second = network.encode(batch.thinned.inputs, batch.thinned.present, known=encoded)
        # Both in one pass of twice as many rows: fusion, trunk and heads are many small operations.
        seen = _beside(encoded, second.narrowed(work.kept))
        share = training.modality_dropout
        whole = torch.ones(len(work.kept), device=work.kept.device)
        weights = torch.cat([whole * (1 - share), whole * share])
        targets = {name: torch.cat([target, target]) for name, target in batch.targets.items()}
    h, _ = network.share(seen)

    def fused(shared: Tensor) -> Tensor:
        return criterion.losses(network.answer(shared), targets, counts=work.counts[FUSED], row_weights=weights)

    loss = criterion.combine(h, fused, work.counts[FUSED], leads=work.leads, party=party)
    if training.auxiliary_weight > 0:
        twice = () if batch.thinned is None else batch.thinned.inputs
        for column, modality in enumerate(network.modalities):
            if not encoded.tokens[column].shape[1]:
                continue  # no sample of the batch has it
            pooled, rows = encoded.pooled[:, column], batch.present[:, column].float()
            truth: Mapping[str, Tensor] = batch.targets
            if weights is not None and modality in twice:
                pooled = torch.cat([pooled, second.pooled[:, column]])
                rows = torch.cat([rows, second.present[:, column].float()]) * weights
                truth = targets
            raw = network.single_modality(modality, pooled, network.tasks)
            parts = criterion.losses(raw, truth, counts=work.counts[modality], row_weights=rows)
            loss = loss + training.auxiliary_weight * criterion.mean(parts)
    if config.relation.penalty > 0 and work.leads:
        loss = loss + config.relation.penalty * network.task_relation.penalty()
    return loss


def _beside(one: Encoded, two: Encoded) -> Encoded:
    return Encoded(
        torch.cat([one.pooled, two.pooled]),
        [_stacked(*pair) for pair in zip(one.tokens, two.tokens, strict=True)],
        [_stacked(*pair) for pair in zip(one.masks, two.masks, strict=True)],
        torch.cat([one.present, two.present]),
    )


def _stacked(one: Tensor, two: Tensor) -> Tensor:
    """One above the other. The second view may have lost every text of the batch, and so have no token of it."""
    return torch.cat([one, two if two.shape[1] else torch.zeros_like(one)])


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
