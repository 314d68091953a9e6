"""A report at a terminal: short tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.markup import escape
from rich.table import Table as Shown

from model.reporting.tables import Table, coverage_at, familiarity_of, table_of

_METRICS = {
    "accuracy": "accuracy",
    "macro_f1": "macro_f1",
    "mae": "mae",
    "r2": "r2",
    "ece": "expected calibration error",
    "ece_chance": "expected calibration error by chance alone",
}


def tables(report: dict[str, Any]) -> Iterator[Shown]:
    """A table a metric that any task has, the coverage measured where 0.9 is asked for, and familiarity."""
    for metric, title in _METRICS.items():
        yield from _shown(f"{title} on {report['split']}", table_of(report, metric))
    yield from _shown(f"coverage on {report['split']} where 0.9 is asked for", coverage_at(report, "0.9", sizes=False))
    yield from _shown("familiarity of ordinary and of strange inputs", familiarity_of(report), "inputs")


def _shown(title: str, table: Table, of: str = "task") -> Iterator[Shown]:
    if not table.rows:
        return
    shown = Shown(title=title)
    shown.add_column(of)
    for column in table.columns:
        shown.add_column(escape(column), justify="right")
    for task, cells in table.rows:
        shown.add_row(escape(task), *(cell or "–" for cell in cells))
    yield shown
