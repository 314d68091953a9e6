"""The command `trunkline init`: what was decided and why, on the terminal and in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

_STYLES = {"left out": "dim", "task": "green", "image": "cyan", "text": "cyan"}


def init_command(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="A CSV or Parquet file; pictures lie beside it.")],
    out: Annotated[Path, typer.Option(help="The config to write.")] = Path("config.yaml"),
    images: Annotated[
        Path | None, typer.Option(help="Folder or zip of the pictures; by default all beside the table are looked at.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the config.")] = False,
) -> None:
    """Look at a table and propose a training config: inputs, questions, and why."""
    from model.bundle import write_atomically
    from model.data.faults import DataError
    from model.proposal.columns import printable
    from model.proposal.document import render, train_command_line
    from model.proposal.propose import propose

    errors = Console(stderr=True)
    try:
        # Asked before the look, which takes a while on a large table.
        if out.exists() and not force:
            raise DataError(f"{out}: is there already; give --force to overwrite it, or another --out")
        proposal = propose(table, images)
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, render(proposal, out).encode())
    except (DataError, OSError) as error:
        errors.print("error: ", style="bold red", end="")
        errors.print(printable(str(error)), markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(2) from None

    console = Console()
    shown = Table(
        title=f"{escape(printable(table.name))}: {proposal.rows:,} rows, {len(proposal.verdicts)} columns",
        title_style="",
    )
    for heading in ("column", "use", "why"):
        shown.add_column(heading, overflow="fold")
    for name, verdict in proposal.verdicts.items():
        why = escape(printable(verdict.reason))
        for warning in verdict.warnings:
            why += f"\n[yellow]{escape(printable(warning))}[/yellow]"
        shown.add_row(escape(printable(name)) or "(no name)", verdict.shown, why, style=_STYLES.get(verdict.use))
    console.print(shown)
    for name in proposal.document["modalities"]:
        console.print(f"{name}: {proposal.reasons['modalities', name]}", markup=False, highlight=False, soft_wrap=True)
    if "hierarchies" in proposal.document:
        why = printable(proposal.reasons["hierarchies",])
        console.print(f"hierarchies: {why}", markup=False, highlight=False, soft_wrap=True)
    for note in proposal.notes:
        console.print(f"- {printable(note)}", markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"wrote {out}; read it, correct it, then: {train_command_line(proposal, out)}",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip
