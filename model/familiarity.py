"""Familiarity as it is told: the share of validation inputs that look at least as strange as one does.

A conformal p-value (Bates et al., "Testing for Outliers with Conformal p-Values", 2023): of inputs like those of
validation, about 5 % get less than 0.05, whatever the distance is worth.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, model_validator

# What the names of its statistics in a network's weights begin with.
PREFIX = "familiarity."
_DIGITS = 6
_EXACT, _KNOTS = 128, 128  # ranks that are kept one by one, and those of all the others together


class Curve(BaseModel):
    """Distances of one modality's validation inputs, thinned out, and which share of those lies as far out as each."""

    model_config = ConfigDict(extra="forbid")

    count: int
    distances: list[float]
    shares: list[float]

    @model_validator(mode="after")
    def _is_one(self) -> Curve:
        if not self.distances or len(self.distances) != len(self.shares) or self.count < len(self.distances):
            raise ValueError("a curve has a share for each distance, of at least as many inputs")
        # Written so that a NaN fails.
        if not all(low < high for low, high in zip(self.distances, self.distances[1:], strict=False)):
            raise ValueError("a curve's distances ascend")
        if not all(1 >= more > less > 0 for more, less in zip(self.shares, self.shares[1:], strict=False)):
            raise ValueError("a curve's shares descend, from 1 at most to more than 0")
        return self

    def share(self, distance: float) -> float:
        """The familiarity of an input, between 1 / (count + 1) and 1."""
        # A NaN is farther than anything.
        if not distance <= self.distances[-1]:
            return round(1 / (self.count + 1), _DIGITS)
        above = bisect_left(self.distances, distance)
        if not above:
            return 1.0 if distance < self.distances[0] else self.shares[0]
        low, high = self.distances[above - 1 : above + 1]
        more, less = self.shares[above - 1 : above + 1]
        return round(more + (distance - low) / (high - low) * (less - more), _DIGITS)


def fit_curve(distances: NDArray[np.floating]) -> Curve | None:
    """The curve of validation inputs' distances [n]; None without any.

    The strangest ones are kept one by one, the others ever more thinly; between two that are kept, shares are never
    less than those of the whole.
    """
    descending = np.sort(distances[np.isfinite(distances)].astype(np.float64))[::-1]
    count = len(descending)
    if not count:
        return None
    ranks = np.unique(
        np.concatenate([np.arange(1, min(count, _EXACT) + 1), np.geomspace(1, count, _KNOTS).round().astype(np.int64)])
    )
    shares = {float(f"{descending[rank - 1]:.8g}"): (rank + 1) / (count + 1) for rank in ranks.tolist()}
    kept = sorted(shares)
    return Curve(count=count, distances=kept, shares=[round(min(1.0, shares[value]), 8) for value in kept])


def groups_in(shapes: Mapping[str, tuple[int, ...]]) -> list[int]:
    """How many groups each modality has, by the shapes of a network's weights; empty where it has no familiarity."""
    found: list[int] = []
    while shape := shapes.get(f"{PREFIX}inputs.{len(found)}.groups"):
        found.append(shape[0])
    return found
