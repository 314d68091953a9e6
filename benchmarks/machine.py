"""What a benchmark ran on: the processor, the kernel, the versions."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from app.threads import usable_cores

_OURS = ("numpy", "openvino", "onnxruntime", "simplejpeg", "pillow", "tokenizers", "uvicorn", "uvloop")
_PACKAGES = {"plain": "fastapi", "rayserve": "ray"}  # where the package is not called as the peer
_ASK = "from importlib.metadata import version; print(version({!r}), version('torch'))"


def describe(peers: Path, names: Iterable[str]) -> dict[str, str]:
    """Facts by name, as a table shows them."""
    return {
        "processor": f"{_processor()}, {usable_cores()} usable cores",
        "memory": f"{_memory_gib():.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        **{name: found for name in _OURS if (found := _version(name))},
        **{_PACKAGES.get(name, name): _peer_versions(peers, name) for name in sorted(names)},
    }


def _processor() -> str:
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _memory_gib() -> float:
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemTotal"):
            return int(line.split()[1]) / (1 << 20)
    return 0.0


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text().splitlines() if file.exists() else []


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _peer_versions(peers: Path, name: str) -> str:
    package = _PACKAGES.get(name, name)
    command = [str(peers / name / "bin" / "python"), "-c", _ASK.format(package)]
    own, torch = subprocess.run(command, text=True, stdout=subprocess.PIPE, check=True).stdout.split()
    return f"{own} (torch {torch})"
