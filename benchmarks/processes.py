"""A server's processes, all of them: what they use and how they end. Linux only, from /proc.

Servers start processes that leave their parent's group or outlive it, so they are known by a variable in their
environment, which children inherit, and not by their descent.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from subprocess import STDOUT, Popen

MARK = "TRUNKLINE_BENCHMARK"
_TICKS = os.sysconf("SC_CLK_TCK")
_UTIME, _CSTIME = 11, 14  # of what follows the command's name in /proc/<pid>/stat; user, system, and those of the dead


class Tree:
    """A command and everything that it starts."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path, folder: Path) -> None:
        """Start `command` in `folder`; its output goes to `log`."""
        self._mark = f"{os.getpid()}-{time.monotonic_ns()}"
        self.started = time.monotonic()
        with log.open("ab") as output:
            self._process = Popen(
                list(command),
                env={**os.environ, **environment, MARK: self._mark},
                cwd=folder,
                stdout=output,
                stderr=STDOUT,
                start_new_session=True,
            )

    @property
    def ended(self) -> bool:
        """Whether the first process has."""
        return self._process.poll() is not None

    def cpu_seconds(self) -> float:
        """User and system time of every process so far, and of those that have ended and were waited for."""
        total = 0
        for process in self._processes():
            try:
                fields = (process / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
            total += sum(int(value) for value in fields[_UTIME : _CSTIME + 1])
        return total / _TICKS

    def memory_bytes(self) -> int:
        """Memory of every process, pages that several share counted once (PSS)."""
        total = 0
        for process in self._processes():
            try:
                for line in (process / "smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += 1024 * int(line.split()[1])
            except OSError:
                continue
        return total

    def stop(self, patience: float = 6.0) -> None:
        """Ask the first process to end, give it `patience` seconds, then end whatever is left."""
        if not self.ended:
            self._process.terminate()
        ends = time.monotonic() + patience
        while time.monotonic() < ends and next(self._processes(), None) is not None:
            self._process.poll()
            time.sleep(0.05)
        while left := list(self._processes()):
            for process in left:
                try:
                    os.kill(int(process.name), signal.SIGKILL)
                except ProcessLookupError:
                    continue
            self._process.poll()
            time.sleep(0.02)
        self._process.wait()

    def _processes(self) -> Iterator[Path]:
        wanted = f"{MARK}={self._mark}".encode()
        for process in Path("/proc").iterdir():
            if not process.name.isdecimal():
                continue
            try:
                if wanted in (process / "environ").read_bytes().split(b"\0"):
                    yield process
            except OSError:  # it has ended, or is another user's
                continue
