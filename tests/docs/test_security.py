"""The page on security names tests that there are, and what it says of the image and of `serve` is theirs."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


def test_every_test_that_is_named_exists() -> None:
    functions = {
        node.name
        for file in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 10
    assert named <= functions, named - functions


def test_every_defence_names_a_test() -> None:
    lines = PAGE.splitlines()
    start = lines.index("| against | defence | test |") + 2
    rows = lines[start : lines.index("", start)]
    assert len(rows) > 10
    for row in rows:
        assert re.search(r"`(tests/[\w/.]+|test_\w+)`|the tests that it names", row.split("|")[3]), row
