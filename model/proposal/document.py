"""A proposal as a YAML file that gives its reasons."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from model.proposal.columns import printable
from model.proposal.propose import Proposal

_WIDTH = 110


def render(proposal: Proposal, path: Path) -> str:
    """The YAML text of a proposal that is written to `path`; `load_config` reads it."""
    return "\n".join(_lines(proposal, path)) + "\n"


def train_command_line(proposal: Proposal, path: Path) -> str:
    """The command that trains the config."""
    paths = f"{shlex.quote(str(path))} --data {shlex.quote(str(proposal.table.parent))}"
    return f"trunkline train {paths} --out weights/{proposal.document['name']}"


def _lines(proposal: Proposal, path: Path) -> Iterator[str]:
    document = proposal.document
    yield from _comment(
        f"Proposed from {proposal.table.name}: {proposal.rows:,} rows, {len(proposal.verdicts)} columns. Read it, "
        "correct it, delete what is no question, then:"
    )
    yield f"#   {train_command_line(proposal, path)}"
    yield from _entry("name", document["name"], "how requests call the model")
    yield from _entry("version", document["version"])
    yield from _entry("source", document["source"], "where the data comes from and its licence, for the model card")
    yield "data:"
    for key, value in document["data"].items():
        yield "  " + next(_entry(key, value, _data_reason(key, proposal)))
    yield "modalities:"
    for name, modality in document["modalities"].items():
        yield from _comment(proposal.reasons["modalities", name], "  ")
        yield f"  {_flow(name)}:"
        for key, value in modality.items():
            yield "    " + next(_entry(key, value))
    yield "tasks:"
    for name, task in document["tasks"].items():
        yield from _comment(proposal.reasons["tasks", name], "  ")
        for warning in proposal.verdicts[task.get("column", name)].warnings:
            yield from _comment(f"Look: {warning}", "  ")
        yield f"  {_flow(name)}: {_flow(task)}"
    if "hierarchies" in document:
        yield from _comment(proposal.reasons["hierarchies",])
        yield from _entry("hierarchies", document["hierarchies"])
    if "relation" in document:
        yield from _entry("relation", document["relation"], "tasks that go together exchange; found from the labels")
    yield "training:"
    for key, value in document["training"].items():
        yield "  " + next(_entry(key, value))
    left = {name: verdict for name, verdict in proposal.verdicts.items() if verdict.use == "left out"}
    if left:
        yield ""
        yield "# Left out:"
        for name, verdict in left.items():
            yield from _comment(f"{name or '(no name)'}: {verdict.reason}", "", "  ")
    if proposal.notes:
        yield ""
        yield "# Noticed:"
        for note in proposal.notes:
            yield from _comment(note, "", "  ")


def _data_reason(key: str, proposal: Proposal) -> str:
    data = proposal.document["data"]
    if key == "id" and data["id"] is None:
        return "no column has a value of its own in each row: the line is the row's name"
    if key == "split":
        return (
            proposal.verdicts[data["split"]].reason if data["split"] else "its values are no splits: divided at random"
        )
    return {"groups": "rows with the same value stay in one split"}.get(key, "")


def _entry(key: str, value: Any, comment: str = "") -> Iterator[str]:
    yield f"{key}: {_flow(value)}" + (f"  # {' '.join(printable(comment).split())}" if comment else "")


def _comment(text: str, indent: str = "", hang: str = "") -> Iterator[str]:
    """Comment lines; no line break of the table's can end the comment, because each line gets its own mark."""
    for number, line in enumerate(printable(text).split("\n")):
        first = f"{indent}# {hang if number == 0 else hang + '  '}"
        yield from textwrap.wrap(
            " ".join(line.split()), _WIDTH, initial_indent=first, subsequent_indent=f"{indent}# {hang}  "
        )


def _flow(value: Any) -> str:
    """A value on one line, quoted where YAML would read it as something else."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    # In quotes of the double kind a line break is written \\n, in others as a line break.
    style = '"' if isinstance(value, str) and not value.isprintable() else None
    # Flow style in a list, because a scalar by itself may hold what is syntax within a list.
    written: str = yaml.safe_dump(
        [value], default_flow_style=True, default_style=style, allow_unicode=True, width=10**9
    )
    return written.removesuffix("\n")[1:-1]
