"""The command that exports a bundle: into one file for elsewhere, or in place, as the graph that serving reads."""

from __future__ import annotations

import importlib.util
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

# The modules of the extra 'onnx'; a serve-only installation lacks them.
_NEEDED = ("torch", "onnx", "onnx_ir", "onnxruntime", "onnxscript")

console = Console(stderr=True)


class Format(StrEnum):
    """What a bundle can be exported to."""

    onnx = "onnx"
    graph = "graph"


def export_command(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    format: Annotated[
        Format,
        typer.Option(
            help="onnx: one file with everything in it. graph: what serving without torch reads, in the bundle."
        ),
    ] = Format.onnx,
    out: Annotated[
        Path | None, typer.Option(help="onnx: file to write. Default: the bundle's name, in the current folder.")
    ] = None,
) -> None:
    """Write a bundle in a form that other runtimes answer from, once that gives the answers that torch gives."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise _fail(f"exporting to ONNX needs {', '.join(missing)}: pip install 'trunkline[onnx]'")
    from model.bundle import BundleError, load_bundle
    from model.export.bundle_graph import write_graph
    from model.export.errors import ExportError
    from model.export.onnx_file import export_onnx

    try:
        loaded = load_bundle(bundle)
        if format is Format.graph:
            if out is not None:
                raise ExportError("--out: a graph has its place in the bundle, beside the weights that it refers to")
            with console.status("tracing the network, then comparing the graph with torch"):
                loaded, parity = write_graph(loaded)
            assert loaded.graph is not None
            file = loaded.graph
        else:
            file = out if out is not None else Path(f"{loaded.name}.{format.value}")
            if file.is_dir():
                raise ExportError(f"{file} is a folder; --out names the file to write")
            if not file.parent.is_dir():
                raise ExportError(f"{file.parent}: no such folder to write {file.name} into")
            with console.status("tracing the network, then comparing the file with torch"):
                parity = export_onnx(loaded, file)
    except (BundleError, ExportError, OSError) as error:
        raise _fail(str(error)) from None
    console.print(
        f"wrote {file} ({file.stat().st_size / 1e6:.1f} MB); its answers to {parity.samples} samples in "
        f"{parity.batches} batches are within {parity.difference:.1g} of torch's",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )


def _fail(message: str) -> typer.Exit:
    console.print("error: ", style="bold red", end="")
    console.print(message, markup=False, highlight=False, soft_wrap=True)
    return typer.Exit(2)
