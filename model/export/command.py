"""The command that exports a bundle: a folder in, one file out, words on the terminal."""

from __future__ import annotations

import importlib.util
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

# The modules of the extra 'onnx'; a serve-only installation lacks them.
_NEEDED = ("onnx", "onnx_ir", "onnxruntime", "onnxscript")

console = Console(stderr=True)


class Format(StrEnum):
    """What a bundle can be exported to."""

    onnx = "onnx"


def export_command(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    format: Annotated[Format, typer.Option(help="Kind of file to write.")] = Format.onnx,
    out: Annotated[
        Path | None, typer.Option(help="File to write. Default: the bundle's name, in the current folder.")
    ] = None,
) -> None:
    """Write a bundle as one file that other runtimes answer from, once it gives the answers that torch gives."""
    missing = [
        name for name in ("onnx", "onnx_ir", "onnxruntime", "onnxscript") if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise _fail(f"exporting to ONNX needs {', '.join(missing)}: pip install 'trunkline[onnx]'")
    from model.bundle import BundleError, load_bundle
    from model.export.errors import ExportError
    from model.export.onnx_file import export_onnx

    try:
        loaded = load_bundle(bundle)
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
