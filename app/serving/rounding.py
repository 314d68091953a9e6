"""How many digits of a number are told."""

from __future__ import annotations

DIGITS = 6
_SIGNIFICANT = 7  # digits, which is what float32 holds


def rounded(value: float) -> float:
    """A probability, a weight or a share."""
    return round(float(value), DIGITS)


def significant(value: float) -> float:
    """A value in the unit of the data, however large or small."""
    return float(f"{value:.{_SIGNIFICANT}g}")
