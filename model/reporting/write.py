"""A report's files in its bundle: JSON for programs, a model card and a page for people."""

from __future__ import annotations

import json
from typing import Any

from model.bundle import CARD, PAGE, REPORT, Bundle, add_files
from model.reporting.card import model_card
from model.reporting.page import render


def write_report(bundle: Bundle, report: dict[str, Any]) -> None:
    """Write `report.json`, the model card `README.md` and the page `report.html` into the bundle's folder.

    `report`: of `model.reporting.measure.evaluate`, with `split`, `date`, `command` and `machine` added to it.
    """
    files = {REPORT: _to_json(report) + "\n", CARD: model_card(bundle, report), PAGE: render(bundle, report)}
    add_files(bundle.path, {name: content.encode() for name, content in files.items()})


def _to_json(value: Any, depth: int = 3) -> str:
    """JSON with a line for each part, setup and task, and all of a task's figures in its line."""
    if not isinstance(value, dict) or not value or not depth:
        return json.dumps(value)
    indent = " " * (4 - depth)
    items = (f"{indent}{json.dumps(key)}: {_to_json(item, depth - 1)}" for key, item in value.items())
    return "{\n" + ",\n".join(items) + "\n" + indent[1:] + "}"
