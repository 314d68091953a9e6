"""The report's arithmetic, on a run whose figures are made up so that each result can be told by hand."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import report
from benchmarks.answers import agreement, labels

PERCENTILES = ("p50", "p95", "p99", "max")


def row(level: str, rps: float, p50: float = 10.0, p99: float = 20.0, **more: Any) -> dict[str, Any]:
    return {
        "level": level,
        "rate": 4 * rps,
        "sent": 100,
        "answered": 100,
        "answered_per_second": rps,
        "latency_ms": dict(zip(PERCENTILES, (p50, p99, p99, p99), strict=True)),
        "refused": 0,
        "refused_ms": None,
        "errors": 0,
        "errors_by_kind": {},
        "seconds": 2.0,
        "generator_cpu_seconds": 0.4,
        "server_cpu_seconds": 0.5,
        "memory_bytes": 300_000_000,
        **more,
    }


def unit(server: str, number: int, rows: list[dict[str, Any]], ready: float = 2.0) -> dict[str, Any]:
    return {"server": server, "round": number, "rows": rows, "ready_seconds": ready, "agreement": 1.0}


def limit(number: int) -> dict[str, Any]:
    seconds = dict.fromkeys(("decode", "tokenise"), 0.001)
    return {
        "server": "limit", "round": number, "runtime": {"name": "openvino", "precision": "bf16"},
        **{f"{name}_core": value for name, value in seconds.items()},
        **{f"{name}_wall": value for name, value in seconds.items()},
        "forward_core": 0.002, "forward_batch": 32, "forward_one_wall": 0.003, "core_seconds": 0.004,
        "alone_seconds": 0.005,
    }  # fmt: skip


def document(rounds: int = 3) -> dict[str, Any]:
    units = []
    for number in range(rounds):
        refused = {"refused": 60, "refused_ms": dict.fromkeys(PERCENTILES, 3.0)}
        ours = [
            row("1", 100 + number, p50=6.0), row("32", 360), row("1x", 350, p99=40.0),
            row("4x", 350, p99=50.0, **refused),
        ]  # fmt: skip
        units += [limit(number), unit("trunkline", number, ours)]
        units.append(unit("plain-taught", number, [row("1", 50), row("32", 90), row("4x", 90)]))
        units.append(unit("mosec-taught", number, [row("1", 40), row("32", 100 + 20 * number)]))
        units.append(unit("mosec-ours", number, [row("32", 300)]))
    return {
        "units": units, "cores": 2, "date": "2026-01-01", "command": "python -m benchmarks.bench", "rounds": rounds,
        "seconds": 2.0, "uploads": 256, "photos": "drawn products", "minutes": 12.5,
        "machine": {"processor": "A", "kernel": "Linux"}, "load_average_before": 0.1,
    }  # fmt: skip


def target(text: str, start: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {start}"))
    return [cell.strip() for cell in line.split("|")[2:4]]


def test_capacity_is_the_best_closed_loop() -> None:
    assert report.capacity([row("1", 10), row("32", 30), row("128", 25), row("4x", 90)]) == 30
    assert report.capacity([]) == 0


def test_ratios_are_of_the_same_round_and_the_best_peer_is_the_fastest() -> None:
    measured = report.Measured(document())
    assert measured.best_peer("taught").id == "mosec-taught"
    assert measured.ratios("mosec-taught") == pytest.approx([3.6, 3.0, 360 / 140])
    assert measured.ratios("plain-taught") == pytest.approx([4.0] * 3)


def test_efficiency_counts_the_cores_that_the_load_generator_left() -> None:
    # 360/s × 4 ms over 2 cores less 0.4 s of 2 s
    assert report.Measured(document()).efficiency("32") == pytest.approx([360 * 0.004 / 1.8] * 3)


def test_targets_are_told_with_their_figures() -> None:
    text = report.tables(document())
    assert target(text, "≥ 3 × the best peer as taught (mosec)") == ["3.00× (2.57 to 3.60)", "reached"]
    assert target(text, "≥ 1.3 × the best peer given") == ["1.20× (1.20 to 1.20)", "missed"]
    assert target(text, "efficiency at 32") == ["0.80 (0.80 to 0.80)", "reached"]
    assert target(text, "one client") == ["1.20× (1.20 to 1.20)", "reached"]
    assert target(text, "at 4× capacity: answered") == ["97 % (97 to 97)", "reached"]
    assert target(text, "at 4× capacity: p99") == ["1.25× (1.25 to 1.25)", "reached"]
    assert target(text, "at 4× capacity: refused") == ["3.0 ms (3.0 to 3.0)", "reached"]
    assert target(text, "ready within 4 s") == ["2.00 s (2.00 to 2.00)", "reached"]
    assert target(text, "memory under 700 MB") == ["300 MB (300 to 300)", "reached"]


def test_what_was_not_measured_is_not_judged() -> None:
    whole = document(1)
    whole["units"] = [u for u in whole["units"] if u["server"] == "plain-taught"]
    whole["units"].append({"server": "mosec-taught", "round": 0, "rows": [], "failed": "it ended"})
    text = report.tables(whole)
    assert target(text, "≥ 3 × the best peer") == ["not measured", ""]
    assert target(text, "efficiency") == ["not measured", ""]
    assert "did not start or answer: mosec-taught." in text


def test_a_round_that_was_measured_after_all_is_not_called_failed() -> None:
    whole = document(1)
    whole["units"].insert(0, {"server": "mosec-taught", "round": 0, "rows": [], "failed": "it ended"})
    assert report.Measured(whole).failed() == []


def test_a_table_row_holds_the_medians_of_the_rounds() -> None:
    lines = [line for line in report.tables(document()).splitlines() if line.startswith("| 1 client | Trunkline")]
    assert lines[0] == "| 1 client | Trunkline | 101 (100 to 102) | 6.0 | 20.0 | 20.0 | 0 | 0 | 5.00 | 300 |"
    overload = next(line for line in report.tables(document()).splitlines() if line.startswith("| 4× (1400/s) |"))
    assert "| 60.0 % | 0 |" in overload


def test_the_page_gets_its_tables_between_its_marks_and_keeps_the_rest() -> None:
    page = f"# Performance\n\n{report.BEGIN}\n\nold\n\n{report.END}\n\nmore\n"
    assert report.insert(page, "new\n") == f"# Performance\n\n{report.BEGIN}\n\nnew\n\n{report.END}\n\nmore\n"
    with pytest.raises(ValueError, match="needs the lines"):
        report.insert("# Performance\n", "new")


def test_the_page_that_ships_has_its_marks() -> None:
    assert "new" in report.insert(report.PAGE.read_text(encoding="utf-8"), "new")


def test_labels_of_different_shapes_are_compared() -> None:
    ours = {
        "predictions": {
            "kind": {"kind": "multiclass", "label": "Shoes", "confidence": 0.9, "top": []},
            "audience": {"kind": "multilabel", "labels": ["men", "kids"], "confidences": {}},
            "year": {"kind": "ordinal", "value": 2012, "confidence": 0.5},
        }
    }
    theirs = {
        "predictions": {
            "kind": {"label": "Shoes", "confidence": 0.8},
            "audience": {"labels": ["kids", "men"]},
            "year": {"label": "2012"},
        }
    }
    other = {"predictions": {**theirs["predictions"], "year": {"label": "2013"}}}
    expected = {0: labels(ours), 1: labels(ours)}
    assert agreement(expected, {0: labels(theirs), 1: labels(theirs)}) == 1
    assert agreement(expected, {0: labels(theirs), 1: labels(other)}) == pytest.approx(5 / 6, abs=1e-4)
