"""A report's figures as tables: a row a task, a column a way to ask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Table:
    """`columns`: the setups; `rows`: (task, a text a setup, "" where there is none) of tasks that have the figure."""

    columns: list[str]
    rows: list[tuple[str, list[str]]]


def table_of(report: dict[str, Any], metric: str) -> Table:
    """A metric of `report["results"]`: counts as they are, the others with three decimals."""
    return _table(
        report,
        "results",
        lambda found: (f"{found[metric]:,}" if metric == "count" else figure(found[metric])) if metric in found else "",
    )


def coverage_at(report: dict[str, Any], asked: str, *, sizes: bool = True) -> Table:
    """The share that was covered where `asked` was asked for, a key of the coverage; in brackets the mean size."""
    show = covered if sizes else lambda found: f"{found['covered']:.3f}"
    return _table(report, "coverage", lambda found: show(found[asked]) if asked in found else "")


def familiarity_of(report: dict[str, Any]) -> Table:
    """What ordinary and strange inputs are told, a row a kind; no row in a report of a bundle without familiarity."""
    found: dict[str, Any] = report.get("familiarity", {})
    levels = [level for part in found.values() for level in part["below"]]
    columns = ["AUROC", *(f"below {level}" for level in dict.fromkeys(levels))]
    rows = []
    for name, part in found.items():
        rows.append((f"{name}: {report['split']}", ["", *map(figure, part["below"].values())]))
        for kind, told in part["unlike"].items():
            rows.append((f"{name}: {kind}", [f"{told['auroc']:.4f}", *map(figure, told["below"].values())]))
    return Table(columns, rows)


def covered(found: dict[str, float]) -> str:
    """A measured coverage with the mean size of the sets, or the mean width of the intervals."""
    size = f"{found['size']:.2f}" if "size" in found else f"{figure(found['width'])} wide"
    return f"{found['covered']:.3f} ({size})"


def figure(value: float) -> str:
    """Three decimals, or three digits where the number is large: errors stand in the unit of their labels."""
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"


def _table(report: dict[str, Any], part: str, cell: Callable[[dict[str, Any]], str]) -> Table:
    setups = report[part]
    rows = [
        (task, [cell(tasks[task]) if task in tasks else "" for tasks in setups.values()]) for task in report["tasks"]
    ]
    return Table(list(setups), [(task, cells) for task, cells in rows if any(cells)])
