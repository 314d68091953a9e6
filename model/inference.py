"""Raw outputs of a network over a whole split, in every availability pattern: what calibration and metrics read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from model.calibration import patterns_of
from model.network import Network
from model.network.multi_model import FUSED
from model.training.batches import BatchMaker

FloatArray = NDArray[np.float32]


@dataclass
class PatternOutputs:
    """Raw outputs of the samples that have a pattern's modalities.

    `rows`: their row numbers [n]; `raw`: member -> task -> [n, size].
    """

    rows: NDArray[np.int64]
    raw: dict[str, dict[str, FloatArray]]


@torch.inference_mode()
def run_patterns(
    network: Network,
    maker: BatchMaker,
    *,
    masked: bool = False,
    batch_size: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> dict[tuple[str, ...], PatternOutputs]:
    """Run a split through a network; the encoders run once, fusion and heads once a pattern.

    A sample counts in a pattern when it has all of the pattern's modalities; the others are hidden from the network.
    """
    network.eval()
    device = next(network.parameters()).device
    patterns = patterns_of(maker.config)
    names = list(maker.config.modalities)
    rows_of: dict[tuple[str, ...], list[NDArray[np.int64]]] = {pattern: [] for pattern in patterns}
    parts: dict[tuple[str, ...], dict[str, dict[str, list[FloatArray]]]] = {
        pattern: {member: {task: [] for task in maker.config.tasks} for member in (FUSED, *pattern)}
        for pattern in patterns
    }
    for rows, cpu_batch in maker.in_order(batch_size, masked=masked):
        batch = cpu_batch.to(device)
        encoded = network.encode(batch.inputs, batch.present)
        alone = network.alone(encoded)
        for pattern in patterns:
            mask = torch.tensor([name in pattern for name in names], device=device)
            has = (batch.present | ~mask).all(dim=1)
            chosen = has.nonzero().squeeze(1)
            if not len(chosen):
                continue
            fused, _ = network.decode(encoded.narrowed(mask.expand_as(batch.present)))
            rows_of[pattern].append(rows[chosen.cpu().numpy()])
            for member in (FUSED, *pattern):
                raw = fused if member == FUSED else alone[member]
                for task, values in raw.items():
                    parts[pattern][member][task].append(values[chosen].float().cpu().numpy())
        if progress is not None:
            progress(int(rows[-1]) + 1, len(maker.split))
    return {
        pattern: PatternOutputs(
            np.concatenate(rows_of[pattern]),
            {
                member: {task: np.concatenate(v) for task, v in tasks.items()}
                for member, tasks in parts[pattern].items()
            },
        )
        for pattern in patterns
        if rows_of[pattern]
    }
