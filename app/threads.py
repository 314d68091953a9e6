"""How the cores that this service may use are shared between its processes and their threads."""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# The names under which a version 1 hierarchy with the cpu controller is usually mounted.
_V1_MOUNTS = ("cpu", "cpu,cpuacct", "cpuacct,cpu")
# With so many cores at work, an interpreter's lock is held about half of the time: beyond that, threads wait for it. A
# request holds it for an eighth of its core time where the cores run the network too, for a quarter where they do not.
_CORES_A_PROCESS_CPU = 4
_CORES_A_PROCESS_GPU = 2


@dataclass(frozen=True)
class ThreadPlan:
    """Who has how many threads."""

    cores: int  # that the service may use
    workers: int  # processes that speak HTTP and decode; 1: the engine is in the same process
    intake: int  # threads that decode and tokenise, in each worker
    forward: int  # threads of one forward on the CPU

    def __str__(self) -> str:
        """One line for the log."""
        processes = "one process" if self.workers == 1 else f"{self.workers} workers and an engine"
        return (
            f"{self.cores} usable core(s): {processes}; {self.intake} thread(s) decode in each worker, "
            f"a forward on the CPU takes {self.forward}"
        )

    def environment(self, threads: int) -> dict[str, str]:
        """This process's environment for one in which numeric libraries start `threads` threads of their own.

        What is set already stays.
        """
        return {
            **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads)),
            **os.environ,
        }


def plan_threads(
    *,
    cores: int,
    gpu: bool,
    workers: int | Literal["auto"] = "auto",
    intake: int | None = None,
    forward: int | None = None,
) -> ThreadPlan:
    """Share `cores`; what is given stays as it is.

    Decoding and the forward both get every core that their process is meant to use: at any time one of them may be all
    that there is to do (a lone request decodes, then runs), and the kernel shares the cores when both have work. With
    workers on the CPU, decoding is spread over them instead, and the same holds for the sum of their threads.
    """
    if workers == "auto":
        workers = choose_workers(cores, gpu=gpu)
    return ThreadPlan(
        cores=cores,
        workers=workers,
        intake=intake or max(1, math.ceil(cores / workers)),
        forward=forward or cores,
    )


def choose_workers(cores: int, *, gpu: bool) -> int:
    """How many processes speak HTTP: as many as it takes for no interpreter lock to be what the cores wait for.

    On few cores one process is best: an engine of its own costs memory, a copy of the interpreter and two context
    switches a request, and gains nothing where the cores are busy anyway. See docs/decisions/0007-workers.md.
    """
    if not hasattr(os, "memfd_create"):  # what the processes share
        return 1
    a_process = _CORES_A_PROCESS_GPU if gpu else _CORES_A_PROCESS_CPU
    return max(1, cores // a_process)


def gpu_expected(device: str, environment: Mapping[str, str] = os.environ, root: Path = Path("/")) -> bool:
    """Whether `device` (auto, cpu or cuda) is going to be a GPU, guessed without loading the library that knows."""
    if device != "auto":
        return device == "cuda"
    if environment.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1"):
        return False
    return (root / "dev/nvidiactl").exists() and importlib.util.find_spec("torch") is not None


def usable_cores(root: Path = Path("/")) -> int:
    """How many cores this process may use, at least 1: those that it may run on, within its CPU quota.

    A quota of one and a half cores counts as two: they are what it takes to use all of it.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota(root)
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Cores that the control groups of this process amount to, the tightest of them all; None without a quota.

    Reads versions 1 and 2, and where a container sees only its own part of the hierarchy, that part.
    """
    return min(_quotas(root), default=None)


def _quotas(root: Path) -> Iterator[float]:
    for hierarchy, controllers, path in _memberships(root):
        if hierarchy == "0":
            mounts = [root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified"]
        elif "cpu" in controllers.split(","):
            mounts = [root / "sys/fs/cgroup" / name for name in _V1_MOUNTS]
        else:
            continue
        for mount in mounts:
            group = mount / path.strip("/")
            for folder in (group, *group.parents):
                if not folder.is_relative_to(mount):
                    break
                quota = _v2_quota(folder) if hierarchy == "0" else _v1_quota(folder)
                if quota is not None:
                    yield quota


def _memberships(root: Path) -> Iterator[tuple[str, str, str]]:
    """Hierarchy number ("0" for version 2), controllers and path of each control group of this process."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        # A path above the mount ("/../.."), as some containers see it, says nothing of what is below.
        yield hierarchy, controllers, "" if ".." in path.split("/") else path


def _v2_quota(folder: Path) -> float | None:
    """`cpu.max` holds microseconds a period, or "max", and the period."""
    words = _read(folder / "cpu.max").split()
    return _ratio(words[0], words[1]) if len(words) == 2 else None


def _v1_quota(folder: Path) -> float | None:
    """`cpu.cfs_quota_us` holds -1 where there is no quota."""
    return _ratio(_read(folder / "cpu.cfs_quota_us").strip(), _read(folder / "cpu.cfs_period_us").strip())


def _ratio(quota: str, period: str) -> float | None:
    if not (quota.isdecimal() and period.isdecimal() and int(quota) and int(period)):
        return None
    return int(quota) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""
