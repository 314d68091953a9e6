"""The geometry of the charts: where a figure lands in a drawing."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.reporting.charts import CELL, CURVE, LINE_HEIGHT, LINE_WIDTH, curve, heat_map, lines, nice_ticks


def test_a_bin_stands_at_its_confidence_and_share_with_the_origin_below() -> None:
    drawn = curve([[10, 0.25, 0.5], [30, 0.75, 1.0]])
    assert [(float(x), float(y)) for x, y, _ in drawn.dots] == [(0.25 * CURVE, 0.5 * CURVE), (0.75 * CURVE, 0.0)]
    assert drawn.line == "25,50 75,0.00"
    small, large = (float(radius) for _, _, radius in drawn.dots)
    assert small < large
    assert [float(height) for _, _, height in drawn.bars] == [4.0, 12.0]


def test_lines_run_from_the_first_to_the_last_and_upwards() -> None:
    chart = lines([1, 2, 3], {"a": [0.2, None, 0.8], "b": [None, None, None]})
    assert chart is not None
    ((name, points, last),) = chart.lines
    assert name == "a"
    (x0, y0), (x1, y1) = (tuple(map(float, point.split(","))) for point in points.split())
    assert (x0, x1) == (0, LINE_WIDTH)
    assert y0 > y1, "more is higher, which is a smaller y"
    assert (float(last[0]), float(last[1])) == (x1, y1)
    assert all(0 <= float(at) <= LINE_HEIGHT for at, _ in chart.y)
    assert [text for _, text in chart.x] == ["1", "2", "3"]


def test_lines_of_nothing_and_of_one_point() -> None:
    assert lines([], {"a": []}) is None
    assert lines([1, 2], {"a": [None, None]}) is None
    chart = lines([1], {"a": [0.5]})
    assert chart is not None
    assert len(chart.y) >= 2
    assert chart.lines[0][1] == f"0.00,{LINE_HEIGHT / 2:g}"


def test_a_heat_map_has_a_row_for_the_reader_and_a_column_for_the_read() -> None:
    chart = heat_map(["a", "b"], [[0, 0.25], [-1, 0]])
    assert chart.side == 2 * CELL
    assert [(float(x), float(y), float(shade), text, negative) for x, y, shade, text, negative in chart.cells] == [
        (CELL, 0.0, 0.25, ".25", False),
        (0.0, CELL, 1.0, "-1", True),
    ]


def test_a_long_name_is_shortened_where_it_is_drawn() -> None:
    ((name, short),) = heat_map(["x" * 80], [[0]]).names
    assert name == "x" * 80
    assert len(short) < 30
    assert short.endswith("…")


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_ticks_are_even_and_hold_what_is_drawn(low: float, span: float) -> None:
    high = low + span
    ticks = nice_ticks(low, high)
    step = ticks[1] - ticks[0]
    assert 2 <= len(ticks) <= 7
    assert ticks[0] <= low + 1e-6 * step
    assert high <= ticks[-1] + 1e-6 * step
    assert all(b - a == pytest.approx(step) for a, b in itertools.pairwise(ticks))
