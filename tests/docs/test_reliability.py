"""The page of promises names tests that exist, and shows of their results what was recorded."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.record import PAGE, ROOT, Row, recorded, render, shown, table

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
    page = PAGE.read_text(encoding="utf-8")
    assert render(page, recorded()) == page


def test_a_promise_is_as_good_as_the_worst_of_its_tests() -> None:
    (row,) = table(PAGE_OF_ONE)
    a, b = row.tests
    assert (a, b) == ("tests/test_x.py::test_a", "tests/test_x.py::test_b")
    assert shown(row, {}) == "–"
    assert shown(row, {a: result("passed"), b: result("passed", "2026-01-03", requests="5")}) == (
        "passed, 2026-01-03; requests: 5"
    )
    assert shown(row, {a: result("passed"), b: result("failed")}) == "failed: test_b, 2026-01-02"
    assert shown(row, {a: result("passed"), f"{b}[1]": result("passed"), f"{b}[2]": result("failed")}) == (
        "failed: test_b, 2026-01-02"
    )
    assert shown(row, {a: result("passed"), f"{b}[1]": result("passed"), f"{b}[2]": {"outcome": "not run"}}) == (
        "1 not run, else passed, 2026-01-02"
    )
    assert shown(row, {a: result("passed")}) == "1 not run, else passed, 2026-01-02"
    assert shown(row, {a: result("passed"), b: result("skipped")}) == "1 not run, else passed, 2026-01-02"


def test_a_record_replaces_what_stood_there_and_can_be_made_again() -> None:
    results = {test: result("passed") for test in table(PAGE_OF_ONE)[0].tests}
    page = render(PAGE_OF_ONE, results)
    assert "edited by hand" not in page
    assert "what was here" not in page
    assert "| passed, 2026-01-02 |" in page
    assert page.count("| 2026-01-02 | `make slow` | 2 cores |") == 1
    assert render(page, results) == page


CONFTEST = """
from pathlib import Path
from tests.support.record import Record

def pytest_configure(config):
    config.pluginmanager.register(Record(config, Path("docs/page.md"), Path("results/kept.json")))
"""
TESTS = """
import pytest

@pytest.mark.parametrize("workers", [1, 2])
def test_a(workers, record_property):
    record_property("requests", 100 * workers)
    assert workers == 1

@pytest.mark.slow
def test_b(): ...

@pytest.mark.slow
def test_unnamed(): assert False
"""


def test_a_run_keeps_the_worst_case_and_what_the_tests_told_and_forgets_nothing(tmp_path: Path) -> None:
    for name, text in {"docs/page.md": PAGE_OF_ONE, "conftest.py": CONFTEST, "tests/test_x.py": TESTS}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow: x\n")

    def run(*words: str) -> str:
        command = [sys.executable, "-m", "pytest", "-q", "-m", "slow", "-p", "no:cacheprovider", *words]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=60, check=False)
        return (tmp_path / "docs/page.md").read_text()

    (row,) = table(PAGE_OF_ONE)
    kept = tmp_path / "results/kept.json"
    first, second, other = "tests/test_x.py::test_a[1]", "tests/test_x.py::test_a[2]", "tests/test_x.py::test_b"
    run("-k", "test_b or 1", "tests")
    assert shown(row, recorded(kept)).startswith("1 not run, else passed, ")
    page = run("--deselect", other, f"--basetemp={tmp_path / 'base'}", "tests")
    outcomes = {case: result["outcome"] for case, result in recorded(kept).items()}
    assert outcomes == {first: "passed", second: "failed", other: "passed"}
    assert recorded(kept)[second]["figures"] == [["2 requests", 200]]
    assert "| failed: test_a, " in page
    assert "1 requests: 100; 2 requests: 200 |" in page
    assert str(tmp_path) not in kept.read_text() + page
    assert recorded(kept)[second]["command"].endswith(f"--deselect {other} tests")
    assert "--deselect" not in recorded(kept)[other]["command"]
    (tmp_path / "tests/test_x.py").write_text(TESTS.replace("[1, 2]", "[1, 3]"))
    run("-k", "test_b", "tests")
    outcomes = {case: result["outcome"] for case, result in recorded(kept).items()}
    assert outcomes == {first: "passed", second.replace("2", "3"): "not run", other: "passed"}
