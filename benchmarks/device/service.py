"""The service under load: `trunkline serve` as a user starts it, several client processes, and what it all used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.threads import usable_cores
from benchmarks.device.usage import Usage
from benchmarks.load import Job
from benchmarks.processes import Tree
from benchmarks.servers import free_port
from benchmarks.uploads import ROOT

_READY_SECONDS = 240.0
_POLL_SECONDS = 0.25
_DRAIN_SECONDS = 30.0  # that requests under way get to end


@dataclass(frozen=True)
class Load:
    """How the service is loaded."""

    levels: tuple[int, ...]  # clients of each run, all processes together
    processes: int  # that send
    uploads: int  # different pictures of each process
    seconds: float  # that count
    warm: float  # seconds before those


class Clients:
    """Client processes, each with uploads of its own."""

    def __init__(self, load: Load, folder: Path) -> None:
        """Start them."""
        self._load = load
        self._logs = [(folder / f"clients-{number}.log").open("w") for number in range(load.processes)]
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.load", "--jobs", "--uploads", str(load.uploads),
                 "--uploads-seed", str(number)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
            for number, log in enumerate(self._logs)
        ]  # fmt: skip
        for process in self._processes:
            self._read(process)  # ready

    def run(self, port: int, clients: int, gpu: bool) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """One closed loop of so many clients in all: each process's result, and what the machine did meanwhile."""
        shares = [
            clients // len(self._processes) + (n < clients % len(self._processes)) for n in range(len(self._processes))
        ]
        busy = [(process, share) for process, share in zip(self._processes, shares, strict=True) if share]
        for process, share in busy:
            job = Job(port=port, clients=share, seconds=self._load.seconds, warm=self._load.warm, drain=_DRAIN_SECONDS)
            assert process.stdin is not None
            process.stdin.write(json.dumps(asdict(job)) + "\n")
            process.stdin.flush()
        for process, _ in busy:
            self._read(process)  # begun
        with Usage(gpu) as usage:
            for process, _ in busy:
                self._read(process)  # ended
        return [self._read(process) for process, _ in busy], usage.summary()

    def close(self) -> None:
        """End them."""
        for process, log in zip(self._processes, self._logs, strict=True):
            process.kill()
            process.communicate()
            log.close()

    def _read(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("a client process ended; its log says why")
        found: dict[str, Any] = json.loads(line)
        return found


def under_load(
    bundle: Path, device: str, sizes: Sequence[int] | None, load: Load, folder: Path, operations: dict[str, float]
) -> dict[str, Any]:
    """Start the service, run every level of load, and say what happened. Raises RuntimeError with the log's end."""
    port = free_port()
    most = max(load.levels)
    command = [
        sys.executable, "-m", "app.cli", "serve", "--bundles", str(bundle), "--device", device, "--port", str(port),
        "--workers", "auto", "--max-in-flight", str(2 * most + 64), "--max-queue", str(2 * most + 64),
    ]  # fmt: skip
    if sizes is not None:
        command += ["--batch-sizes", ",".join(map(str, sizes))]
    log = folder / "server.log"
    with ExitStack() as stack:
        clients = Clients(load, folder)
        stack.callback(clients.close)
        tree = Tree(command, {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}, log, ROOT)
        stack.callback(tree.stop)
        ready = _wait_ready(tree, port, log)
        rows = []
        for level in load.levels:
            before, cpu = read_metrics(port), tree.cpu_seconds()
            results, usage = clients.run(port, level, device == "cuda")
            spent = tree.cpu_seconds() - cpu
            rows.append(_row(level, results, usage, spent, before, read_metrics(port), operations))
        return {
            "command": " ".join(["trunkline", *command[3:]]),
            "seconds_to_ready": round(ready, 2),
            "cores": usable_cores(),
            "memory_mib": round(tree.memory_bytes() / 2**20),
            "levels": rows,
        }


def _row(
    level: int,
    results: list[dict[str, Any]],
    usage: dict[str, Any],
    server_cpu: float,
    before: dict[str, float],
    after: dict[str, float],
    operations: dict[str, float],
) -> dict[str, Any]:
    answered = sum(result["answered"] for result in results)
    latencies = [result["latency_ms"] for result in results if result["latency_ms"]]
    counted = {name: after.get(name, 0.0) - before.get(name, 0.0) for name in after}
    batches = counted.get("trunkline_batch_size_count", 0.0)
    items = counted.get("trunkline_batch_size_sum", 0.0)
    return {
        "clients": level,
        "answered_per_second": round(sum(result["answered_per_second"] for result in results), 1),
        "p50_ms": max((entry["p50"] for entry in latencies), default=None),
        "p99_ms": max((entry["p99"] for entry in latencies), default=None),
        "refused": sum(result["refused"] for result in results),
        "errors": sum(result["errors"] for result in results),
        "mean_batch": round(items / batches, 1) if batches else None,
        "padding_waste": waste(items, counted, operations),
        "server_core_seconds_a_request": round(server_cpu / items, 6) if items else None,
        "generator_cores": round(sum(r["generator_cpu_seconds"] / r["seconds"] for r in results), 2),
        "answered": answered,
        **usage,
    }


def waste(items: float, counted: dict[str, float], operations: dict[str, float]) -> float | None:
    """Share of the forwards' arithmetic that was for padding."""
    padding = counted.get('trunkline_text_tokens_total{kind="padding"}', 0.0) * operations["token"]
    read = counted.get('trunkline_text_tokens_total{kind="read"}', 0.0) * operations["token"]
    total = items * operations["item"] + read + padding
    return round(padding / total, 4) if total else None


def read_metrics(port: int) -> dict[str, float]:
    """Every sample of `/metrics` by its name and labels, as they are written there."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as response:
        lines = response.read().decode().splitlines()
    samples = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in samples}


def _wait_ready(tree: Tree, port: int, log: Path) -> float:
    ends = tree.started + _READY_SECONDS
    while time.monotonic() < ends and not tree.ended:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=10):
                return time.monotonic() - tree.started
        except (OSError, urllib.error.URLError):
            time.sleep(_POLL_SECONDS)
    raise RuntimeError(f"the service did not get ready: {log.read_text(errors='replace')[-3000:]}")
