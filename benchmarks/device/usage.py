"""What a GPU and the processor's cores do while something is measured."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

_GPU_FIELDS = ("utilization.gpu", "memory.used", "power.draw", "clocks.sm")
_READ_GPU = ("nvidia-smi", f"--query-gpu={','.join(_GPU_FIELDS)}", "--format=csv,noheader,nounits", "-i", "0")
_INTERVAL = 0.25  # seconds
_TICKS = os.sysconf("SC_CLK_TCK")


class Usage:
    """Samples between entering and leaving: `with Usage(gpu=True) as usage: …; usage.summary()`."""

    def __init__(self, gpu: bool) -> None:
        """`gpu`: ask nvidia-smi too, where it is installed."""
        self._sampler = threading.Thread(target=self._sample) if gpu and shutil.which("nvidia-smi") else None
        self._ended = threading.Event()
        self._lines: list[str] = []

    def __enter__(self) -> Usage:
        """Begin."""
        self._began, self._busy_before = time.monotonic(), busy_seconds()
        if self._sampler is not None:
            self._sampler.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, whatever happened."""
        self._seconds = time.monotonic() - self._began
        self._busy = busy_seconds() - self._busy_before
        self._ended.set()
        if self._sampler is not None:
            self._sampler.join()

    def _sample(self) -> None:
        while not self._ended.wait(_INTERVAL):
            self._lines += subprocess.run(_READ_GPU, capture_output=True, text=True).stdout.splitlines()

    def summary(self) -> dict[str, Any]:
        """Cores that were busy on average, of the whole machine, and the GPU's readings: mean and largest."""
        figures: dict[str, Any] = {"busy_cores": round(self._busy / self._seconds, 2)}
        samples = [readings for line in self._lines if (readings := _numbers(line)) is not None]
        if samples:
            values = np.array(samples)
            for column, name in enumerate(_GPU_FIELDS):
                figures[f"gpu {name}"] = {
                    "mean": round(float(values[:, column].mean()), 1),
                    "max": round(float(values[:, column].max()), 1),
                }
        return figures


def busy_seconds(stat: Path = Path("/proc/stat")) -> float:
    """Seconds that the machine's cores have worked since it started, all of them together."""
    words = stat.read_text().split("\n")[0].split()
    user, nice, system, _idle, _waiting, *interrupts = (int(word) for word in words[1:8])
    return (user + nice + system + sum(interrupts)) / _TICKS


def _numbers(line: str) -> list[float] | None:
    """The readings of one line, None for one that is cut off or holds what is not supported."""
    try:
        values = [float(word) for word in line.split(",")]
    except ValueError:
        return None
    return values if len(values) == len(_GPU_FIELDS) else None
