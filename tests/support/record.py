"""Results of tests, kept: the last one of each test that docs/reliability.md names goes into that page.

The page's table says by which tests each promise is shown. What the tests told of themselves with `record_property`
(how many requests, how much growth) stands behind their outcome. The table's last column is written here alone.
"""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from benchmarks.machine import describe
from benchmarks.uploads import ROOT

PAGE = ROOT / "docs" / "reliability.md"
RESULTS = ROOT / "benchmarks" / "results" / "reliability.json"
HEADER = "| promise | tests | last result |"
BEGIN, END = "<!-- begin: make slow -->", "<!-- end: make slow -->"
_RAN = ("passed", "failed")
_NAMED = re.compile(r"\[`([^`]+)`\]\(\.\./([^)]+)\)")  # [`test_function`](../tests/file.py)

Results = dict[str, dict[str, Any]]  # by test and case, as pytest names them: `file::function[case]`


@dataclass
class Row:
    """One promise of the table."""

    promise: str
    tests: list[str]
    written: str = field(repr=False)  # the cell with the tests, as it stands there


def table(page: str) -> list[Row]:
    """The promises of a page and the tests that are named for each."""
    lines = page.splitlines()
    start = lines.index(HEADER) + 2
    rows = []
    for line in lines[start : lines.index("", start)]:
        promise, tests, _ = (cell.strip() for cell in line.split("|")[1:-1])
        rows.append(Row(promise, [f"{file}::{name}" for name, file in _NAMED.findall(tests)], tests))
    return rows


def recorded(path: Path = RESULTS) -> Results:
    """What is kept; nothing before the first run."""
    results: Results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return results


def shown(row: Row, results: Results) -> str:
    """The last result of a row: of all its tests, or that none is recorded."""
    cases = {
        test: [result for case, result in sorted(results.items()) if _function(case) == test] for test in row.tests
    }
    found = [result for results in cases.values() for result in results if result["outcome"] in _RAN]
    if not found:
        return "–"
    wrong = [test.partition("::")[2] for test in row.tests if any(r["outcome"] == "failed" for r in cases[test])]
    missing = sum(not results or any(r["outcome"] not in _RAN for r in results) for results in cases.values())
    outcome = f"failed: {', '.join(wrong)}" if wrong else "passed" if not missing else f"{missing} not run, else passed"
    words = [f"{outcome}, {max(result['date'] for result in found)}"]
    words += [f"{name}: {value}" for result in found for name, value in result["figures"]]
    return "; ".join(words)


def render(page: str, results: Results) -> str:
    """The page with the last column, and the runs that it is from, as the results say."""
    rows = table(page)
    lines = page.splitlines()
    start = lines.index(HEADER) + 2
    lines[start : start + len(rows)] = [f"| {row.promise} | {row.written} | {shown(row, results)} |" for row in rows]
    begin, end = lines.index(BEGIN), lines.index(END)
    return "\n".join([*lines[: begin + 1], "", *_runs(rows, results), "", *lines[end:]]) + "\n"


def _runs(rows: Sequence[Row], results: Results) -> Iterator[str]:
    named = {test for row in rows for test in row.tests}
    kept = [result for case, result in results.items() if _function(case) in named and result["outcome"] in _RAN]
    runs = {(result["date"], result["command"], result["machine"]) for result in kept}
    if not runs:
        yield "No run is recorded yet."
        return
    yield from ("| date | command | machine |", "| --- | --- | --- |")
    for date, command, machine in sorted(runs):
        yield f"| {date} | `{command}` | {machine} |"


class Record:
    """Plugin of a pytest run whose results are kept. Runs what the page names, whether it is slow or not."""

    def __init__(self, config: pytest.Config, page: Path = PAGE, results: Path = RESULTS) -> None:
        self._page, self._results = page, results
        self._named = {test for row in table(page.read_text(encoding="utf-8")) for test in row.tests}
        # Places of this machine say nothing to a reader.
        words = [word for word in config.invocation_params.args if not re.search("(^|=)/", word)]
        self._run = {
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "command": shlex.join(("python", "-m", "pytest", *words)),
            "machine": ", ".join(f"{value}" if name in _PLAIN else f"{name} {value}" for name, value in _facts()),
        }
        self._partly = any("::" in word for word in words)  # what is collected may be some of a test's cases
        self._collected: set[str] = set()
        self._found: Results = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Before tests are chosen by their marks or names."""
        for item in items:
            if _function(item.nodeid) in self._named:
                item.add_marker(pytest.mark.slow)
                self._collected.add(item.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A case's setup, call or teardown ended."""
        result = self._found.setdefault(
            report.nodeid, {"outcome": "passed", "seconds": 0.0, "figures": [], **self._run}
        )
        result["seconds"] = round(result["seconds"] + report.duration, 1)
        if report.failed or (report.skipped and result["outcome"] == "passed"):
            result["outcome"] = report.outcome
        if report.when == "teardown":
            case = re.search(r"\[(.*)\]", report.nodeid)
            before = f"{case[1]} " if case else ""
            result["figures"] += [[before + name, value] for name, value in report.user_properties]

    def pytest_sessionfinish(self) -> None:
        """Keep the results; those of cases that were there and not chosen stay, or are marked as not run."""
        collected = {_function(case) for case in self._collected} if not self._partly else set()
        kept = recorded(self._results)
        results = {case: result for case, result in kept.items() if _function(case) not in collected}
        results |= {case: kept.get(case, {"outcome": "not run"}) for case in self._collected}
        results |= {case: result for case, result in self._found.items() if _function(case) in self._named}
        self._results.parent.mkdir(parents=True, exist_ok=True)
        self._results.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        self._page.write_text(render(self._page.read_text(encoding="utf-8"), results), encoding="utf-8")


_PLAIN = ("processor", "memory", "kernel")  # what needs no name before it
_SHOWN = (*_PLAIN, "Python", "openvino")


def _facts() -> list[tuple[str, str]]:
    return [(name, value) for name, value in describe(Path(), ()).items() if name in _SHOWN]


def _function(nodeid: str) -> str:
    return nodeid.partition("[")[0]
