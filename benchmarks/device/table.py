"""The GPU benchmark's document as a table to read."""

from __future__ import annotations

from typing import Any


def show(document: dict[str, Any], *, judged: bool) -> str:
    """Lines of text; `judged`: say whether targets were reached."""
    lines = [f"\n{document['device']}, torch {document['torch']}, {document['cores']} cores, {document['date']}"]
    for name, figures in document["models"].items():
        lines.append(f"\n{name}: {figures['bundle']}, {figures['tokens']} tokens at the median")
        if figures.get("forward"):
            lines += ["", "forward alone, items a second", *_table(figures["forward"])]
        if figures.get("pipeline"):
            rates = {key: rates for key, rates in figures["pipeline"].items() if key.endswith("in flight")}
            rows = [{"batch": size} | {key: rates[key][size] for key in rates} for size in next(iter(rates.values()))]
            lines += ["", "through the runtime, items a second", *_table(rows)]
        if figures.get("service"):
            keep = ("clients", "answered_per_second", "p50_ms", "p99_ms", "refused", "errors", "mean_batch",
                    "padding_waste", "busy_cores", "generator_cores", "gpu utilization.gpu")  # fmt: skip
            rows = [
                {key: row[key]["mean"] if isinstance(row.get(key), dict) else row.get(key) for key in keep}
                for row in figures["service"]["levels"]
            ]
            lines += ["", "the service under load", *_table(rows)]
            if "service_share_of_forward" in figures:
                lines.append(
                    f"{figures['service_share_of_forward']:.0%} of the forward alone, "
                    f"{figures['busy_share_of_cores']:.0%} of the cores busy"
                )
    lines.append("")
    lines += [f"{'passed' if passed else 'FAILED'}: {check}" for check, passed in document["checks"].items()]
    lines += [f"FAILED: {section} raised {error.splitlines()[-1]}" for section, error in document["errors"].items()]
    if judged:
        lines += [f"{'reached' if reached else 'MISSED'}: {name}" for name, reached in document["targets"].items()]
    return "\n".join(lines)


def _table(rows: list[dict[str, Any]]) -> list[str]:
    heads = list(rows[0])
    cells = [heads, *([_cell(row.get(head)) for head in heads] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:,}" if isinstance(value, (int, float)) else str(value)
