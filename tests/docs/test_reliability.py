"""The page of promises names tests that exist, and shows of their results what was recorded."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from tests.support.record import PAGE, RESULTS, ROOT, Row, render, shown, table

PROMISES = table(PAGE.read_text(encoding="utf-8"))
PAGE_OF_ONE = """# Reliability

| promise | tests | last result |
| --- | --- | --- |
| Nothing breaks | [`test_a`](../tests/test_x.py), [`test_b`](../tests/test_x.py) | edited by hand |

<!-- begin: make slow -->
what was here
<!-- end: make slow -->
"""


def result(outcome: str, date: str = "2026-01-02", **figures: str) -> dict[str, object]:
    shown = [list(figure) for figure in figures.items()]
    return {"outcome": outcome, "date": date, "figures": shown, "command": "make slow", "machine": "2 cores"}


@pytest.mark.parametrize("row", PROMISES, ids=lambda row: row.promise.partition(":")[0])
def test_every_promise_names_tests_that_exist(row: Row) -> None:
    assert row.tests
    assert row.written.count("`") == 2 * len(row.tests), "a name that is no link to its test"
    for test in row.tests:
        file, _, name = test.partition("::")
        functions = [
            n
            for n in ast.walk(ast.parse(Path(ROOT / file).read_text()))
            if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        assert name in {function.name for function in functions}, test


def test_the_page_shows_what_was_recorded_and_nothing_else() -> None:
    recorded = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    page = PAGE.read_text(encoding="utf-8")
    assert render(page, recorded) == page


def test_a_promise_is_as_good_as_the_worst_of_its_tests() -> None:
    (row,) = table(PAGE_OF_ONE)
    a, b = row.tests
    assert (a, b) == ("tests/test_x.py::test_a", "tests/test_x.py::test_b")
    assert shown(row, {}) == "–"
    assert shown(row, {a: result("passed"), b: result("passed", "2026-01-03", requests="5")}) == (
        "passed, 2026-01-03; requests: 5"
    )
    assert shown(row, {a: result("passed"), b: result("failed")}) == "failed: test_b, 2026-01-02"
    assert shown(row, {a: result("passed")}) == "1 not run, else passed, 2026-01-02"
    assert shown(row, {a: result("passed"), b: result("skipped")}) == "1 not run, else passed, 2026-01-02"


def test_a_record_replaces_what_stood_there_and_can_be_made_again() -> None:
    recorded = {test: result("passed") for test in table(PAGE_OF_ONE)[0].tests}
    page = render(PAGE_OF_ONE, recorded)
    assert "edited by hand" not in page
    assert "what was here" not in page
    assert "| passed, 2026-01-02 |" in page
    assert page.count("| 2026-01-02 | `make slow` | 2 cores |") == 1
    assert render(page, recorded) == page
