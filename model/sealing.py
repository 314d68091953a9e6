"""The command that writes a bundle's checksums anew where people may change its files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

console = Console(stderr=True)


def seal_command(bundle: Annotated[Path, typer.Argument(help="Bundle folder.")]) -> None:
    """Write the checksums of a bundle's bundle.yaml, report, its page and model card, after a change that was meant.

    Weights, graph, calibration, golden cases, history and tokenizers must be as they were made.
    """
    from model.bundle import BundleError, seal_bundle

    try:
        sealed = seal_bundle(bundle)
    except (BundleError, OSError) as error:
        console.print("error: ", style="bold red", end="")
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(2) from None
    console.print(f"sealed {bundle}: {sealed.name} {sealed.version}, digest {sealed.digest}", highlight=False)
