"""What the processes of a service hold: memory, file descriptors, threads. Linux only, from /proc."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.app.processes.service import Service


@dataclass(frozen=True)
class Footprint:
    """Of all processes of a service together."""

    pids: tuple[int, ...]
    # Bytes; what several processes share is counted once (PSS). Pages of files, such as libraries, are left out: how
    # much of them counts as the service's depends on what else runs on the machine.
    memory: int
    descriptors: int
    threads: int


def footprint(service: Service) -> Footprint:
    """What the service holds now."""
    pids = (service.process.pid, *service.pids().values())
    folders = [Path(f"/proc/{pid}") for pid in pids]
    return Footprint(
        pids,
        sum(_memory(folder) for folder in folders),
        sum(len(list((folder / "fd").iterdir())) for folder in folders),
        sum(len(list((folder / "task").iterdir())) for folder in folders),
    )


def connections(service: Service) -> int:
    """TCP connections to the service that it has not closed."""
    port = f":{int(service.url.rpartition(':')[2]):04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(line[1].endswith(port) and line[3] in (_ESTABLISHED, _CLOSE_WAIT) for line in lines)


_ESTABLISHED, _CLOSE_WAIT = "01", "08"


def _memory(folder: Path) -> int:
    lines = (folder / "smaps_rollup").read_text().splitlines()[1:]
    kilobytes = {name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines)}
    return 1024 * sum(kilobytes[kind] for kind in ("Pss_Anon", "Pss_Shmem", "SwapPss"))
