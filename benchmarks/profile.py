"""Where a request's core time goes: each stage by itself, and the whole service under load.

    python -m benchmarks.profile --bundle weights/fashion --json profile.json

Stages run in this process, one after the other, on the same uploads, and are timed by the processor's clock, so that
what else the machine does counts little. The service then runs in a process of its own, reached over a real socket;
its processor time, every thread and child included, by its requests is what a request costs in truth. Its HTTP server
alone, before an application that reads the same bodies and answers as many bytes, is measured the same way. What the
whole costs beyond the stages is what its threads cost each other: the interpreter's lock, switches, shared caches.

Efficiency is the share of the whole that decodes, resizes, tokenises and computes. Linux only, from /proc.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send

from benchmarks import stages
from benchmarks.processes import Tree
from benchmarks.servers import free_port
from benchmarks.uploads import ROOT, load
from model.bundle import load_bundle

CLIENTS = 32
COMPUTE = ("scaled decode", "resize", "tokenise", "forward")
_ANSWER_BYTES = 1500
_LOGS = ROOT / "benchmarks" / ".runs"
_PATIENCE = 60.0  # seconds for a server to be ready


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    """Read a body, answer as many bytes as a prediction has."""
    if scope["type"] != "http":
        return
    while scope["method"] == "POST" and (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % _ANSWER_BYTES)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": bytes(_ANSWER_BYTES)})


def serve_bare(port: int) -> None:
    """The HTTP server of the service in front of `bare`."""
    uvicorn.run(
        bare, port=port, loop="auto", http="httptools", ws="none", lifespan="off", log_level="error", access_log=False
    )


def measure_stages(path: Path, count: int) -> dict[str, float]:
    """Core milliseconds a request of every stage that runs in one process."""
    bundle, uploads = load_bundle(path), load(count)
    found = stages.intake_stages(bundle, uploads)
    forward, items, outputs = stages.forward_stages(bundle, uploads)
    labels, answer = stages.answer_stage(bundle, outputs)
    around = asyncio.run(stages.pipeline_stages(path, items[0], outputs))
    http = uvloop.run(stages.http_stages(path, bundle, uploads, answer))
    around["pipeline"] -= labels
    return {**http, **around, **found, **forward, "labels": labels}


def measure_server(command: Sequence[str], port: int, seconds: float, uploads: int) -> dict[str, float]:
    """What a server costs a request under load, all of its processes, and how many requests it answers a second."""
    _LOGS.mkdir(parents=True, exist_ok=True)
    tree = Tree([sys.executable, *command], {"PYTHONPATH": str(ROOT)}, _LOGS / "profile.log", ROOT)
    try:
        _wait_ready(port, tree)
        job = {"port": port, "clients": CLIENTS, "warm": 1.5, "seconds": seconds}
        client = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.load", "--jobs", "--uploads", str(uploads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
        assert client.stdin
        assert client.stdout
        client.stdin.write(json.dumps(job) + "\n")
        client.stdin.close()
        cpu: dict[str, float] = {}
        for line in client.stdout:
            said = json.loads(line)
            if "event" in said:
                cpu[said["event"]] = tree.cpu_seconds()
            else:
                result = said
        client.wait()
    finally:
        tree.stop()
    if result["errors"] or result["refused"] or not result["answered"]:
        raise RuntimeError(f"the load was not answered: {result}")
    return {
        "core_ms": 1000 * (cpu["ended"] - cpu["begun"]) / result["answered"],
        "per_second": result["answered_per_second"],
        "p50_ms": result["latency_ms"]["p50"],
    }


def _wait_ready(port: int, tree: Tree) -> None:
    ends = time.monotonic() + _PATIENCE
    while not tree.ended and time.monotonic() < ends:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5):
                return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"the server did not become ready; see {_LOGS / 'profile.log'}")


def profile(path: Path, seconds: float, count: int) -> dict[str, Any]:
    """Stages, servers, and what follows from them."""
    found = measure_stages(path, count)
    port = free_port()
    floor = measure_server(["-m", "benchmarks.profile", "--bare", str(port)], port, seconds, count)
    port = free_port()
    command = ["-m", "app.cli", "serve", "--port", str(port), "--bundles", str(path)]
    whole = measure_server(command, port, seconds, count)
    table = {"HTTP server": floor["core_ms"], **found}
    compute = sum(found[name] for name in COMPUTE)
    return {
        "stages_core_ms": table,
        "sum_core_ms": sum(table.values()),
        "service": whole,
        "compute_core_ms": compute,
        "overhead_core_ms": whole["core_ms"] - compute,
        "efficiency": compute / whole["core_ms"],
        "clients": CLIENTS,
        "uploads": count,
    }


def show(result: dict[str, Any]) -> str:
    """The result as a table."""
    whole = result["service"]["core_ms"]
    lines = [f"{'stage':<24}{'core ms':>9}{'share':>8}"]
    rows = {**result["stages_core_ms"], "between threads": whole - result["sum_core_ms"], "whole service": whole}
    for name, value in rows.items():
        mark = " *" if name in COMPUTE else ""
        lines.append(f"{name + mark:<24}{value:>9.3f}{value / whole:>8.1%}")
    lines.append(
        f"* {result['compute_core_ms']:.3f} ms; the rest {result['overhead_core_ms']:.3f} ms; efficiency "
        f"{result['efficiency']:.2f}; {result['service']['per_second']:.0f} requests/s with {result['clients']} clients"
    )
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=ROOT / "weights" / "fashion")
    parser.add_argument("--seconds", type=float, default=5.0, help="of load on each server")
    parser.add_argument("--uploads", type=int, default=64, help="how many different pictures")
    parser.add_argument("--json", type=Path, help="a file to write the figures to")
    parser.add_argument("--bare", type=int, metavar="PORT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare:
        serve_bare(arguments.bare)
        return
    result = profile(arguments.bundle, arguments.seconds, arguments.uploads)
    print(show(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
