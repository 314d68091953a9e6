"""What the commands of training share: how they speak to a person at a terminal, and how they read common options."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    import torch

    from model.data.faults import Faults
    from model.data.images import Progress as Told

console = Console(stderr=True)


def fail(error: Exception) -> typer.Exit:
    """Print what went wrong; gives what to raise."""
    console.print("error: ", style="bold red", end="")
    console.print(str(error), markup=False, highlight=False, soft_wrap=True)
    return typer.Exit(2)


def need_the_train_extra(*more: str) -> None:
    """End where libraries are missing that a serve-only installation lacks, or one of `more`."""
    needed = ("torch", "sklearn", "onnxscript", "onnxruntime", *more)
    if any(importlib.util.find_spec(name) is None for name in needed):
        raise fail(RuntimeError("training and evaluation need the extra 'train': pip install 'trunkline[train]'"))


def read_words(path: Path) -> frozenset[str]:
    """The words of a file, in lower case. Raises DataError where it is not a text in UTF-8."""
    from model.data.faults import DataError

    try:
        return frozenset(path.read_text(encoding="utf-8").lower().split())
    except UnicodeDecodeError:
        raise DataError(f"{path}: not a text in UTF-8") from None


def device_of(name: str) -> torch.device:
    """The device of --device; `auto` is a GPU where there is one. Raises ConfigError for one that there is not."""
    import torch

    from model.config import ConfigError

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "cuda" and not torch.cuda.is_available():
            raise RuntimeError("this torch sees no CUDA device")
    except RuntimeError as error:
        raise ConfigError(f"--device {name}: {error}") from None
    return device


def progress_bars() -> Progress:
    """Bars with a share, the time until now, and a field `info`."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[info]}"),
        console=console,
    )


def loading_bars(progress: Progress) -> Told:
    """A bar for each kind of decoding, as `load_dataset` tells of it."""
    bars: dict[str, TaskID] = {}

    def advance(what: str, done: int, total: int) -> None:
        if what not in bars:
            bars[what] = progress.add_task(what, info="")
        progress.update(bars[what], completed=done, total=total)

    return advance


def show_faults(faults: Faults, folder: Path | None) -> None:
    """Print a summary; where there is a folder, write the whole list into it."""
    if not len(faults):
        return
    console.print(faults.render(), markup=False, highlight=False, soft_wrap=True)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "faults.json").write_text(json.dumps(faults.as_dict(), indent=1) + "\n", encoding="utf-8")
        console.print(f"all of them: {folder / 'faults.json'}", soft_wrap=True, highlight=False, markup=False)


def tell_graphless(reason: str | None) -> None:
    """Say why a bundle has no graph; nothing where it has one (None)."""
    if reason is not None:
        console.print(f"it has no graph, and torch alone will serve it: {reason}", markup=False, soft_wrap=True)
