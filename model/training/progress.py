"""How a training run is shown: a progress bar with the time left, a table an epoch, a log for TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from model.config import Config


class TerminalReporter:
    """A `trainer.Reporter` for a person at a terminal."""

    def __init__(self, config: Config, progress: Progress, console: Console, log: Path) -> None:
        self.config = config
        self.progress = progress
        self.console = console
        self.bar = progress.add_task("training", total=1.0, info="")
        self.writer = _writer(log)
        if self.writer is None:
            self.note("no TensorBoard log: install the extra 'train' to have one")

    def step(self, epoch: int, done: int, total: int, loss: float, progress: float, seconds: float) -> None:
        """See `trainer.Reporter`."""
        # Half a per cent and less says nothing of how long the rest will take.
        left = f"{seconds / progress * (1 - progress) / 60:.0f} min left" if progress > 0.005 else "…"
        info = f"epoch {epoch}/{self.config.training.epochs}, step {done}/{total}, loss {loss:.3f}, {left}"
        self.progress.update(self.bar, completed=progress, info=info)

    def epoch(self, record: dict[str, Any]) -> None:
        """See `trainer.Reporter`."""
        self.progress.update(self.bar, completed=record["progress"])
        if self.writer is not None:
            for name, value in summarise(record).items():
                self.writer.add_scalar(name, value, record["epoch"])
            self.writer.flush()
        title = f"epoch {record['epoch']}: loss {record['loss']:.3f}, score {record['score']:.4f}, " + (
            f"{record['seconds'] / 60:.1f} min"
        )
        table = Table(title=title, title_justify="left")
        table.add_column("validation")
        for task in self.config.tasks:
            table.add_column(task, justify="right")
        for pattern, tasks in record["metrics"].items():
            table.add_row(pattern, *(_cell(tasks[task]) for task in self.config.tasks))
        self.console.print(table)

    def note(self, message: str) -> None:
        """See `trainer.Reporter`."""
        self.console.print(message, markup=False, highlight=False)

    def close(self) -> None:
        """End the log."""
        if self.writer is not None:
            self.writer.close()


def _cell(metrics: dict[str, Any]) -> str:
    if "accuracy" in metrics:
        return f"{metrics['accuracy']:.3f}"
    return f"{metrics['mae']:.3g}" if "mae" in metrics else "–"


def _writer(log: Path) -> Any:
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(log))


def summarise(record: Mapping[str, Any]) -> dict[str, float]:
    """A record's figures by flat name, for a log."""
    figures = {"loss": record["loss"], "score": record["score"]}
    for pattern, tasks in record["metrics"].items():
        for task, values in tasks.items():
            figures |= {f"{pattern}/{task}/{k}": v for k, v in values.items() if k != "count"}
    return figures
