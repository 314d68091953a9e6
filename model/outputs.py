"""What a network answers to a batch, whatever ran it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass
class Outputs:
    """Calibrated answers of a batch.

    `probabilities`: task -> float32 [B, C]; multiclass and ordinal rows sum to 1, multilabel and binary ([B, 1]) hold
    independent probabilities, regression ([B, 1]) the value. `alpha`: [B, M] mixing weights of the modalities, 0 where
    one is missing. `distance`: [B, M], how strange each input is, see `model.network.familiarity`; None in a bundle
    without.
    """

    probabilities: dict[str, NDArray[np.float32]]
    alpha: NDArray[np.float32]
    relation: dict[str, dict[str, float]] = field(default_factory=dict)
    distance: NDArray[np.float32] | None = None
