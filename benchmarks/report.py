"""From what a run measured to tables: medians of the rounds, ratios with their spread, targets reached or missed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Any

from benchmarks.servers import OURS, SERVERS, TAUGHT, TRUNKLINE, Server
from benchmarks.uploads import ROOT

RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- begin: make bench -->", "<!-- end: make bench -->"
_TITLES = {
    TAUGHT: "Peers as taught: Pillow decodes the whole picture, torch runs eagerly",
    OURS: "Peers given our intake and our runtime",
}
_MB = 1e6

Document = dict[str, Any]
Row = dict[str, Any]


def capacity(rows: Iterable[Row]) -> float:
    """The best closed-loop throughput, answers a second; 0 of none."""
    return max((row["answered_per_second"] for row in rows if not row["level"].endswith("x")), default=0.0)


def line(row: Row) -> str:
    """One level as it is measured."""
    latency = row["latency_ms"] or {}
    refused = f", {row['refused']} refused (p50 {row['refused_ms']['p50']} ms)" if row["refused"] else ""
    errors = f", errors {row['errors_by_kind']}" if row["errors"] else ""
    return (
        f"{row['level']:>5}: {row['answered_per_second']:.1f}/s, "
        f"p50 {latency.get('p50')} ms, p99 {latency.get('p99')} ms, "
        f"{cpu_per_request(row):.2f} core-ms a request, {row['memory_bytes'] / _MB:.0f} MB{refused}{errors}"
    )


def cpu_per_request(row: Row) -> float:
    """Core-milliseconds that the server used for an answer."""
    return 1000 * row["server_cpu_seconds"] / row["answered"] if row["answered"] else float("nan")


def generator_cores(row: Row) -> float:
    """Cores that the load generator kept busy."""
    return float(row["generator_cpu_seconds"] / row["seconds"])


class Measured:
    """A run's units by server and round."""

    def __init__(self, document: Document) -> None:
        self._units = {(unit["server"], unit["round"]): unit for unit in document["units"] if "failed" not in unit}
        self._tried = {(unit["server"], unit["round"]) for unit in document["units"]}
        self.rounds = sorted({number for _, number in self._units})
        self.cores: int = document["cores"]

    def failed(self) -> list[str]:
        """Servers without a measurement in a round that tried them."""
        return sorted({server for server, number in self._tried - self._units.keys()})

    def rows(self, server: str, level: str) -> list[Row]:
        """One level of a server in each round that has it."""
        return [
            row
            for number in self.rounds
            for row in self._units.get((server, number), {}).get("rows", [])
            if row["level"] == level
        ]

    def units(self, server: str) -> list[dict[str, Any]]:
        """A server's units in the order of the rounds."""
        return [self._units[server, number] for number in self.rounds if (server, number) in self._units]

    def together(self, first: str, second: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Units of two servers in the rounds that have both."""
        both = [number for number in self.rounds if (first, number) in self._units and (second, number) in self._units]
        return [(self._units[first, number], self._units[second, number]) for number in both]

    def ratios(self, peer: str) -> list[float]:
        """Trunkline's capacity over a peer's, in each round."""
        pairs = self.together(TRUNKLINE, peer)
        return [capacity(ours["rows"]) / capacity(theirs["rows"]) for ours, theirs in pairs if capacity(theirs["rows"])]

    def best_peer(self, variant: str) -> Server | None:
        """The peer of the highest capacity, by the median of the rounds."""
        peers = [server for server in SERVERS if server.variant == variant and self.units(server.id)]
        return max(peers, key=lambda s: median(capacity(u["rows"]) for u in self.units(s.id)), default=None)

    def efficiency(self, level: str) -> list[float]:
        """Requests/s × what one costs at the least / (cores less what the load generator used), in each round."""
        return [
            row["answered_per_second"] * limit["core_seconds"] / (self.cores - generator_cores(row))
            for ours, limit in self.together(TRUNKLINE, "limit")
            for row in ours["rows"]
            if row["level"] == level
        ]


def spread(values: Sequence[float], digits: int = 2, unit: str = "") -> str:
    """The median, with the smallest and the largest."""
    if not values:
        return "not measured"
    shown = f"{median(values):.{digits}f}{unit}"
    return shown if len(values) == 1 else f"{shown} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def tables(document: Document) -> str:
    """The whole report in Markdown."""
    measured = Measured(document)
    parts = [_about(document), _targets(measured), _limit(measured)]
    for variant in (TAUGHT, OURS):
        if any(measured.units(server.id) for server in SERVERS if server.variant == variant):
            parts += [f"### {_TITLES[variant]}", _ratios(measured, variant), _levels(measured, variant)]
    if failed := measured.failed():
        parts.append(f"Not measured in every round, because it did not start or answer: {', '.join(failed)}.")
    return "\n\n".join(part for part in parts if part) + "\n"


def record(document: Document, text: str) -> None:
    """Keep a run: its figures in benchmarks/results, its tables in docs/performance.md."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{document['date']}.json").write_text(json.dumps(document, indent=1) + "\n")
    PAGE.write_text(insert(PAGE.read_text(), text))


def insert(page: str, text: str) -> str:
    """The page with what stands between its marks replaced. Raises ValueError where a mark is missing."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page needs the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"


def _about(document: Document) -> str:
    machine = ", ".join(
        f"{name} {value}" if name not in ("processor", "memory", "kernel") else value
        for name, value in document["machine"].items()
    )
    return (
        f"Recorded on {document['date']} with `{document['command']}`: {document['rounds']} rounds, "
        f"{document['seconds']:g} s a level, {document['uploads']} {document['photos']}, "
        f"{document['minutes']:g} minutes. Machine: {machine}. The load generator ran on the same machine; the load "
        f"average before the run was {document['load_average_before']:g}."
    )


def _targets(measured: Measured) -> str:
    rows = [
        ("target", "measured: median (least to most of the rounds)", ""),
        *_compared(measured, TAUGHT, 3.0, "the best peer as taught"),
        *_compared(measured, OURS, 1.3, "the best peer given our intake and runtime"),
        _judged("efficiency at 32 clients ≥ 0.75", measured.efficiency("32"), lambda v: v >= 0.75),
        _judged("one client: p50 ≤ 1.3 × a lone request's limit", _lone(measured), lambda v: v <= 1.3, unit="×"),
        *_overload(measured),
        _judged("ready within 4 s", _of_units(measured, "ready_seconds"), lambda v: v <= 4, unit=" s"),
        _judged("memory under 700 MB", _peak_memory(measured), lambda v: v < 700, 0, " MB"),
    ]
    return "### Targets\n\n" + _table(rows)


def _compared(measured: Measured, variant: str, wanted: float, words: str) -> list[tuple[str, ...]]:
    best = measured.best_peer(variant)
    if best is None:
        return [(f"≥ {wanted:g} × {words}", "not measured", "")]
    ratios = measured.ratios(best.id)
    return [_judged(f"≥ {wanted:g} × {words} ({best.name})", ratios, lambda v: v >= wanted, unit="×")]


def _judged(
    words: str, values: Sequence[float], reached: Callable[[float], bool], digits: int = 2, unit: str = ""
) -> tuple[str, ...]:
    verdict = "" if not values else "reached" if reached(median(values)) else "missed"
    return words, spread(values, digits, unit), verdict


def _lone(measured: Measured) -> list[float]:
    return [
        row["latency_ms"]["p50"] / (1000 * limit["alone_seconds"])
        for ours, limit in measured.together(TRUNKLINE, "limit")
        for row in ours["rows"]
        if row["level"] == "1" and row["latency_ms"]
    ]


def _overload(measured: Measured) -> list[tuple[str, ...]]:
    kept, slower, refusing = [], [], []
    for unit in measured.units(TRUNKLINE):
        rows = {row["level"]: row for row in unit["rows"]}
        at_capacity, beyond = rows.get("1x"), rows.get("4x")
        if beyond is not None and capacity(unit["rows"]):
            kept.append(beyond["answered_per_second"] / capacity(unit["rows"]))
            if beyond["refused_ms"]:
                refusing.append(beyond["refused_ms"]["p50"])
        if at_capacity and beyond and at_capacity["latency_ms"] and beyond["latency_ms"]:
            slower.append(beyond["latency_ms"]["p99"] / at_capacity["latency_ms"]["p99"])
    return [
        _judged("at 4× capacity: answered ≥ 95 % of capacity", [100 * v for v in kept], lambda v: v >= 95, 0, " %"),
        _judged("at 4× capacity: p99 of the answered ≤ 2 × that at 1×", slower, lambda v: v <= 2, unit="×"),
        _judged("at 4× capacity: refused within 20 ms at the median", refusing, lambda v: v < 20, 1, " ms"),
    ]


def _of_units(measured: Measured, name: str) -> list[float]:
    return [unit[name] for unit in measured.units(TRUNKLINE)]


def _peak_memory(measured: Measured) -> list[float]:
    return [max(row["memory_bytes"] for row in unit["rows"]) / _MB for unit in measured.units(TRUNKLINE)]


def _limit(measured: Measured) -> str:
    limits = measured.units("limit")
    if not limits:
        return ""

    def milliseconds(name: str) -> str:
        return spread([1000 * limit[name] for limit in limits], 2, " ms")

    last = limits[-1]
    rows = [
        ("part, alone", "core time a request", "wall time of a lone request"),
        ("decode", milliseconds("decode_core"), milliseconds("decode_wall")),
        ("tokenise", milliseconds("tokenise_core"), milliseconds("tokenise_wall")),
        (
            f"forward, batch {last['forward_batch']} and 1",
            milliseconds("forward_core"),
            milliseconds("forward_one_wall"),
        ),
        ("together", milliseconds("core_seconds"), milliseconds("alone_seconds")),
    ]
    runtime = last["runtime"]
    return f"### The limit\n\nRuntime: {runtime['name']}, {runtime['precision']}.\n\n" + _table(rows)


def _ratios(measured: Measured, variant: str) -> str:
    rows = [
        ("peer", "its capacity, requests/s", "Trunkline / peer", "labels as Trunkline's", "ready", "memory at most")
    ]
    for server in SERVERS:
        units = measured.units(server.id)
        if not units or server.variant not in (variant, None):
            continue
        memory = [max(row["memory_bytes"] for row in unit["rows"]) / _MB for unit in units]
        rows.append(
            (
                server.name,
                spread([capacity(unit["rows"]) for unit in units], 0),
                "1" if server.variant is None else spread(measured.ratios(server.id), 2, "×"),
                f"{100 * min(unit['agreement'] for unit in units):.1f} %",
                spread([unit["ready_seconds"] for unit in units], 1, " s"),
                f"{max(memory):.0f} MB",
            )
        )
    return _table(rows)


def _levels(measured: Measured, variant: str) -> str:
    rows = [
        ("load", "server", "requests/s", "p50 ms", "p95 ms", "p99 ms", "refused", "errors", "core-ms a request", "MB")
    ]
    levels = list(dict.fromkeys(row["level"] for s in SERVERS for u in measured.units(s.id) for row in u["rows"]))
    for level in levels:
        peers = [server for server in SERVERS if server.variant == variant and measured.rows(server.id, level)]
        ours = [server for server in SERVERS if server.variant is None and measured.rows(server.id, level)]
        rows += [_level(server, level, measured.rows(server.id, level)) for server in (ours + peers if peers else [])]
    return _table(rows)


def _level(server: Server, level: str, rows: list[Row]) -> tuple[str, ...]:
    def of(pick: Callable[[Row], float | None], digits: int) -> str:
        values = [value for row in rows if (value := pick(row)) is not None]
        return f"{median(values):.{digits}f}" if values else "–"

    def latency(name: str) -> str:
        return of(lambda row: row["latency_ms"] and row["latency_ms"][name], 1)

    def share(name: str) -> str:
        sent = sum(row["sent"] for row in rows)
        count = sum(row[name] for row in rows)
        return "0" if not count else f"{100 * count / sent:.1f} %"

    load = f"{level[:-1]}× ({of(lambda row: row['rate'], 0)}/s)" if level.endswith("x") else f"{level} clients"
    return (
        load.replace("1 clients", "1 client") if level == "1" else load,
        server.name,
        spread([row["answered_per_second"] for row in rows], 0),
        latency("p50"),
        latency("p95"),
        latency("p99"),
        share("refused"),
        share("errors"),
        of(lambda row: cpu_per_request(row) if row["answered"] else None, 2),
        f"{max(row['memory_bytes'] for row in rows) / _MB:.0f}",
    )


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    head, *body = rows
    rule = tuple("---" for _ in head)
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *body))
