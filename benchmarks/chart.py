"""Line charts as SVG, from numbers alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 460, 320, 56, 56, 16, 44
_COLOURS = ("#2563a8", "#c2571a", "#2f8f4e", "#8d3b8f", "#6b6b6b")


@dataclass(frozen=True)
class Panel:
    """One chart: a name and lines by name, each with a value for every place on the axis below."""

    title: str
    lines: Mapping[str, Sequence[float]]
    logarithmic: bool = False


def draw(places: Sequence[float], below: str, panels: Sequence[Panel]) -> str:
    """An SVG of the panels side by side."""
    width = _WIDTH * len(panels)
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" font-size="11"',
        f' viewBox="0 0 {width} {_HEIGHT}">',
        f'<rect width="{width}" height="{_HEIGHT}" fill="white"/>',
    ]
    for number, panel in enumerate(panels):
        parts += [f'<g transform="translate({number * _WIDTH} 0)">', *_panel(places, below, panel), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _panel(places: Sequence[float], below: str, panel: Panel) -> Iterator[str]:
    highest = max(value for values in panel.lines.values() for value in values if math.isfinite(value))
    lowest = min(value for values in panel.lines.values() for value in values) if panel.logarithmic else 0.0

    def x(place: float) -> float:
        return _LEFT + place / max(places) * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        if panel.logarithmic:
            share = math.log(value / lowest) / math.log(highest / lowest)
        else:
            share = value / highest
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    yield f'<text x="{_LEFT}" y="18" font-weight="bold">{escape(panel.title)}</text>'
    yield f'<text x="{(_LEFT + _WIDTH) / 2}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(below)}</text>'
    for value in _marks(lowest, highest, panel.logarithmic):
        yield f'<path d="M{_LEFT} {y(value):.1f}H{_WIDTH - _RIGHT}" stroke="#ddd"/>'
        yield f'<text x="{_LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>'
    for place in range(math.floor(max(places)) + 1):
        yield f'<text x="{x(place):.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{place}</text>'
    for number, (name, values) in enumerate(panel.lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        points = " ".join(
            f"{x(place):.1f},{y(value):.1f}"
            for place, value in zip(places, values, strict=True)
            if math.isfinite(value)
        )
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        left, top = _LEFT + 8 + 130 * (number % 2), 32 + 13 * (number // 2)
        yield f'<text x="{left}" y="{top}" fill="{colour}">{escape(name)}</text>'


def _marks(lowest: float, highest: float, logarithmic: bool) -> list[float]:
    """Round numbers between two values."""
    if logarithmic:
        first, last = math.ceil(math.log10(lowest)), math.floor(math.log10(highest))
        return [10.0**power for power in range(first, last + 1)]
    step = 10 ** math.floor(math.log10(highest))
    step = step / 2 if highest / step < 3 else step
    return [step * number for number in range(int(highest / step) + 1)]
