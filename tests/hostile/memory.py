"""Memory of a service's processes, at its highest while something was done to them."""

from __future__ import annotations

import re
from pathlib import Path


def processes(pid: int) -> list[int]:
    """A process and all that it started."""
    found = [pid]
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in file.read_text().split():
            found += processes(int(child))
    return found


class Peak:
    """How much more memory than when this was made processes took at their highest, in bytes, summed.

    What an allocator keeps of earlier requests counts as well, so make it before the first one.
    """

    def __init__(self, pid: int) -> None:
        self._before = {}
        for process in processes(pid):
            self._before[process] = _bytes(process, "VmRSS")
        self.forget()

    def forget(self) -> None:
        """Look at the peak from now on."""
        for process in self._before:
            Path(f"/proc/{process}/clear_refs").write_text("5")

    def grown(self) -> int:
        return sum(_bytes(process, "VmHWM") - before for process, before in self._before.items())


def _bytes(process: int, what: str) -> int:
    found = re.search(rf"^{what}:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) << 10
