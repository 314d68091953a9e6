"""Imports run one way: api → serving → intake → model, and each room knows only what it may."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HTTP = {"fastapi", "starlette", "uvicorn", "python_multipart", "httptools"}
FORBIDDEN = {
    "model": {"app", *HTTP},
    "app/intake": {"app.api", "app.serving", "app.web", "app.main", "app.settings", "torch", *HTTP},
    "app/serving": {"app.api", "app.web", "app.main", "app.settings", "PIL", *HTTP},
    "app/serving/batcher.py": {"app", "model", "time", "threading", "socket", "asyncio"},
    "app/access": {
        "model",
        "app.api",
        "app.serving",
        "app.intake",
        "app.web",
        "app.main",
        "app.settings",
        "torch",
        *HTTP,
    },
    "app/telemetry": {"app.api", "app.serving", "app.intake", "app.web", *HTTP},
    "app/api": {"app.main", "app.web", "torch", "PIL"},
    "app/web": {"app", "model", "torch", "PIL"},
    "app/errors.py": {"app", "model", *HTTP},
}


def imported(file: Path) -> set[str]:
    """Every module that a file imports, with each of its parents."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {".".join(parts[:end]) for name in found for parts in [name.split(".")] for end in range(1, len(parts) + 1)}


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_imports_only_what_it_may(room: str) -> None:
    place = ROOT / room
    files = [place] if place.is_file() else sorted(place.rglob("*.py"))
    assert files
    broken = {str(file.relative_to(ROOT)): sorted(imported(file) & FORBIDDEN[room]) for file in files}
    assert {file: names for file, names in broken.items() if names} == {}
