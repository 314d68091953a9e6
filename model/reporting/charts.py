"""The geometry of the page's charts: figures become places in an SVG drawing, which the templates draw."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Sizes of plot areas, in the units of the drawings; their margins are the templates'.
CURVE = 100.0
LINE_WIDTH, LINE_HEIGHT = 250.0, 110.0
CELL = 27.0
_LONGEST = 22  # characters of a name beside a heat map


@dataclass(frozen=True)
class Curve:
    """A reliability curve: dots (x, y, radius), the line through them, and bars (x, width, height) of how many."""

    dots: list[tuple[str, str, str]]
    line: str
    bars: list[tuple[str, str, str]]


@dataclass(frozen=True)
class Lines:
    """A chart of lines: (name, points, last point) each; ticks are (place, text)."""

    lines: list[tuple[str, str, tuple[str, str]]]
    x: list[tuple[str, str]]
    y: list[tuple[str, str]]


@dataclass(frozen=True)
class HeatMap:
    """Cells (x, y, shade 0..1, text, negative?) of a square matrix, and its names, each with how it is drawn."""

    cell: float
    side: float
    names: list[tuple[str, str]]
    cells: list[tuple[str, str, str, str, bool]]


def curve(bins: Sequence[Sequence[float]]) -> Curve:
    """The curve of bins [count, mean confidence, share right]; bars are for shares of all that was answered."""
    total = sum(count for count, _, _ in bins)
    points = [(_at(confidence * CURVE), _at((1 - right) * CURVE)) for _, confidence, right in bins]
    return Curve(
        dots=[
            (x, y, _at(1.2 + 3 * math.sqrt(count / total))) for (x, y), (count, _, _) in zip(points, bins, strict=True)
        ],
        line=" ".join(f"{x},{y}" for x, y in points),
        bars=[(_at(confidence * CURVE - 2), "4", _at(max(0.4, 16 * count / total))) for count, confidence, _ in bins],
    )


def lines(x: Sequence[float], series: Mapping[str, Sequence[float | None]]) -> Lines | None:
    """Lines over common x; values that are missing are passed over. None where nothing is there to be drawn."""
    known = [value for values in series.values() for value in values if value is not None]
    if not known:
        return None
    ticks = nice_ticks(min(known), max(known))
    low, high = ticks[0], ticks[-1]
    span = (x[-1] - x[0]) or 1.0
    # As few decimals as tell the ticks apart exactly: steps are 1, 2, 2.5 or 5 times a power of ten.
    step = ticks[1] - ticks[0]
    digits = next(d for d in itertools.count() if math.isclose(round(step * 10**d), step * 10**d, rel_tol=1e-6))
    drawn = []
    for name, values in series.items():
        points = [
            (_at((at - x[0]) / span * LINE_WIDTH), _at((high - value) / (high - low) * LINE_HEIGHT))
            for at, value in zip(x, values, strict=True)
            if value is not None
        ]
        if points:
            drawn.append((name, " ".join(f"{a},{b}" for a, b in points), points[-1]))
    return Lines(
        drawn,
        [(_at((at - x[0]) / span * LINE_WIDTH), f"{at:g}") for at in sorted({x[0], x[len(x) // 2], x[-1]})],
        [(_at((high - tick) / (high - low) * LINE_HEIGHT), f"{tick:.{digits}f}") for tick in ticks],
    )


def heat_map(names: Sequence[str], matrix: Sequence[Sequence[float]]) -> HeatMap:
    """A map of values in −1..1, a row and a column a name; zeros stay empty."""
    return HeatMap(
        cell=CELL,
        side=CELL * len(names),
        names=[(name, name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…") for name in names],
        cells=[
            (
                _at(j * CELL),
                _at(k * CELL),
                _at(min(1.0, abs(value))),
                f"{value:.2f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.0f}",
                value < 0,
            )
            for k, row in enumerate(matrix)
            for j, value in enumerate(row)
            if abs(value) >= 0.005
        ],
    )


def nice_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers at even distances, the first at or below `low`, the last at or above `high`; at least two."""
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = low - 0.05 * max(1.0, abs(low)), high + 0.05 * max(1.0, abs(high))
    rough = (high - low) / (most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, last + 1)]


def _at(value: float) -> str:
    """A coordinate with one decimal, two where it is below 1: the page stays small."""
    return f"{value:.2f}" if abs(value) < 1 else f"{value:.1f}".removesuffix(".0")
