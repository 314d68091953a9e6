"""The commands of the command line that train and evaluate: files in, files out, words on the terminal."""

from __future__ import annotations

import os
import platform
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from model.terminal import (
    console,
    device_of,
    fail,
    loading_bars,
    need_the_train_extra,
    progress_bars,
    read_words,
    show_faults,
    tell_graphless,
)

if TYPE_CHECKING:
    import torch
    from rich.progress import Progress

    from model.bundle import Bundle
    from model.data.dataset import Dataset


def train_command(
    config: Annotated[Path, typer.Argument(help="Training config, a YAML file; see configs/ for examples.")],
    data: Annotated[Path, typer.Option(help="Folder or zip with the table and the pictures, or the table itself.")],
    out: Annotated[Path, typer.Option(help="Folder of the bundle to make, such as weights/NAME.")],
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Time to train for, all resumed parts together.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or a torch device.")] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: one a core.")] = 0,
    restart: Annotated[bool, typer.Option("--restart", help="Forget an unfinished run instead of resuming.")] = False,
    cache: Annotated[Path | None, typer.Option(help="Where decoded pictures are kept.")] = None,
) -> None:
    """Train a bundle. Run it again after an interruption and it goes on from the last finished epoch."""
    need_the_train_extra()
    import torch

    from model.bundle import PAGE, BundleError
    from model.config import ConfigError, load_config
    from model.data.dataset import load_dataset
    from model.data.faults import DataError
    from model.network.encoders import resolve_encoders
    from model.training.bundling import give_graph, make_bundle
    from model.training.checkpoint import Checkpoints, ResumeError
    from model.training.trainer import DivergedError, Trainer

    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    try:
        settings = load_config(config)
        chosen = device_of(device)
        if not out.name or (out.exists() and not out.is_dir()):
            raise BundleError(f"--out {out}: name a folder for the bundle, such as weights/{settings.name}")
        settings = resolve_encoders(settings)
        with progress_bars() as progress:
            dataset = load_dataset(settings, data, cache=cache, progress=loading_bars(progress))
        work = out.with_name(out.name + ".training")
        show_faults(dataset.faults, work)
        console.print("  ".join(f"{name}: {len(split)}" for name, split in dataset.splits.items()))
        checkpoints = Checkpoints(work, dataset.config, dataset.fingerprint)
        if restart:
            checkpoints.clear()
            shutil.rmtree(work / "tensorboard", ignore_errors=True)
        from model.training.progress import TerminalReporter

        with progress_bars() as progress:
            reporter = TerminalReporter(dataset.config, progress, console, work / "tensorboard")
            trainer = Trainer(dataset, chosen, reporter, checkpoints, minutes)
            trained = trainer.run()
            reporter.note("calibrating on the validation split")
            trained.provenance |= {
                "source": dataset.config.source,
                "command": f"trunkline train {config} --data PATH --out {out}"
                + (f" --minutes {minutes:g}" if minutes else ""),
                "data": {"fingerprint": dataset.fingerprint, **{n: len(s) for n, s in dataset.splits.items()}},
                "faults": dataset.faults.counts,
                "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, {chosen.type}",
                "torch": torch.__version__.split("+")[0],
                "date": datetime.now(UTC).date().isoformat(),
            }
            bundle = make_bundle(out, dataset, trained)
            reporter.note("writing the graph that serving without torch reads")
            graphless = give_graph(bundle)
            reporter.close()
            # Validation rows chose the weights and fitted the calibration; a report says so where there are no others.
            name = "test" if len(dataset.splits["test"]) else "val"
            report = _measure(bundle, dataset, name, chosen, trained.provenance["command"], progress)
        tell_graphless(graphless)
        _show_report(report)
        console.print(f"wrote {out}; {out}/{PAGE} shows how well it does", soft_wrap=True)
    except (ConfigError, DataError, ResumeError, BundleError, DivergedError, OSError) as error:
        raise fail(error) from None
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on from the last finished epoch")
        raise typer.Exit(130) from None


def evaluate_command(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    data: Annotated[Path, typer.Option(help="Folder or zip with the table and the pictures, or the table itself.")],
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    mask_words: Annotated[
        Path | None, typer.Option(help="Words, one a line, to mask instead of those that name a label.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or a torch device.")] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: one a core.")] = 0,
    cache: Annotated[Path | None, typer.Option(help="Where decoded pictures are kept.")] = None,
) -> None:
    """Measure a bundle on a split, for each set of modalities, and write a report into it: JSON, model card, page."""
    need_the_train_extra()
    import torch

    from model.bundle import CARD, PAGE, REPORT, BundleError, load_bundle
    from model.config import ConfigError
    from model.data.dataset import load_dataset
    from model.data.faults import DataError

    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    try:
        if split not in ("train", "val", "test"):
            raise DataError(f"--split {split}: choose train, val or test")
        loaded = load_bundle(bundle)
        chosen = device_of(device)
        with progress_bars() as progress:
            dataset = load_dataset(
                loaded.config,
                data,
                cache=cache,
                labels_from=loaded.config,
                splits=(split,),
                progress=loading_bars(progress),
            )
            show_faults(dataset.faults, None)
            if not len(dataset.splits[split]):
                raise DataError(f"{data}: the split {split!r} holds no row")
            words = None
            if mask_words is not None:
                words = read_words(mask_words)
            command = f"trunkline evaluate {bundle} --data PATH --split {split}"
            command += " --mask-words FILE" if mask_words else ""
            report = _measure(loaded, dataset, split, chosen, command, progress, words)
    except (BundleError, ConfigError, DataError, OSError) as error:
        raise fail(error) from None
    _show_report(report)
    console.print(f"wrote {REPORT}, {CARD} and {PAGE} in {bundle}", soft_wrap=True)


def _measure(
    bundle: Bundle,
    dataset: Dataset,
    split: str,
    device: torch.device,
    command: str,
    progress: Progress,
    masked_words: frozenset[str] | None = None,
) -> dict[str, Any]:
    """Evaluate a bundle with a bar, and write the report into it; `command` is what the report says it was made by."""
    import torch

    from model.reporting.measure import evaluate
    from model.reporting.write import write_report

    bar = progress.add_task("evaluating", total=None, info="")

    def advance(done: int, total: int) -> None:
        progress.update(bar, completed=done, total=total)

    report = evaluate(bundle, dataset.splits[split], device, masked_words, advance)
    report |= {
        "split": split,
        "date": datetime.now(UTC).date().isoformat(),
        "command": command,
        "machine": f"{platform.machine()}, {device.type}, torch {torch.__version__.split('+')[0]}",
    }
    write_report(bundle, report)
    return report


def _show_report(report: dict[str, Any]) -> None:
    from model.reporting.terminal import tables

    for table in tables(report):
        Console().print(table)
