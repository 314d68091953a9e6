"""Trunkline beside other ways to serve the same bundle: one command, one run, one set of tables.

    make bench                                    # everything: some half an hour on a quiet machine
    python -m benchmarks.bench --quick            # short levels, one round: shows that all of it works
    python -m benchmarks.bench --servers trunkline,mosec-taught --levels 32,4x --seconds 5

In every round each server is started in turn, answers one set of uploads that is compared between all of them, and
takes each level of load; then it is stopped and nothing of it stays. Levels are numbers of clients (closed loop) and
multiples of the server's own capacity (open loop, `4x`); capacity is its best closed-loop throughput in that round.
What is measured goes to a folder of its own, a line a server and round as soon as it is there; `--resume` goes on from
it. `--record` writes the tables into docs/performance.md and the figures beside them into benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from app.threads import usable_cores
from benchmarks import report
from benchmarks.answers import agreement, labels
from benchmarks.load import Job
from benchmarks.machine import describe
from benchmarks.servers import OURS, SERVERS, TAUGHT, NotReady, Running, Server
from benchmarks.uploads import ROOT, Upload, load

RUNS = ROOT / "benchmarks" / ".runs"
LEVELS = ("1", "8", "32", "128", "0.5x", "1x", "2x", "4x")
LEVELS_OURS = ("1", "32", "128", "1x", "4x")
_FULL = {"rounds": 3, "seconds": 3.0, "warm": 0.7, "warm_up": 2.0}
_QUICK = {"rounds": 1, "seconds": 1.0, "warm": 0.5, "warm_up": 1.0}
_START_SECONDS = {None: 5.0, TAUGHT: 12.0, OURS: 9.0}  # about; for the plan that is printed
_CHECKED = 32  # uploads whose answers are compared
_DRAIN = 2.0
_SETTLE = 1.0


class Generator:
    """The load generator's process."""

    def __init__(self, uploads: int, images: Path | None) -> None:
        command = [sys.executable, "-m", "benchmarks.load", "--jobs", "--uploads", str(uploads)]
        if images is not None:
            command += ["--images", str(images)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ}
        )
        self._read()

    def run(self, job: Job, running: Running) -> dict[str, Any]:
        """One level of load, with what the server used in the time that counts."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(job)) + "\n")
        self._process.stdin.flush()
        used = {}
        while (event := self._read()).get("event"):
            used[event["event"]] = running.tree.cpu_seconds()
        memory = running.tree.memory_bytes()
        cpu = used["ended"] - used["begun"] if "begun" in used else 0.0
        return {**event, "server_cpu_seconds": round(cpu, 3), "memory_bytes": memory}

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the load generator ended; its output above says why")
        document: dict[str, Any] = json.loads(line)
        return document

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


class Bench:
    """A run: its plan, its units and the folder that they go to."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._folder: Path = arguments.resume or RUNS / time.strftime("%Y-%m-%d-%H%M%S")
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file = self._folder / "units.jsonl"
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        self.units: list[dict[str, Any]] = [json.loads(line) for line in lines]
        self._uploads: list[Upload] = load(arguments.uploads, images=arguments.images)
        self._generator = Generator(arguments.uploads, arguments.images)
        self._expected: dict[int, dict[str, Any]] | None = None

    def run(self, servers: Sequence[Server]) -> dict[str, Any]:
        """Every round; the document that the report is made of."""
        arguments = self._arguments
        started = time.monotonic()
        meta = {
            "command": command(sys.argv[1:]),
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "machine": describe(arguments.peers, {server.key for server in servers if server.variant}),
            "cores": usable_cores(),
            "rounds": arguments.rounds,
            "seconds": arguments.seconds,
            "uploads": arguments.uploads,
            "photos": "enlarged photos" if arguments.images else "drawn products",
            "load_average_before": round(os.getloadavg()[0], 2),
        }
        try:
            for number in range(arguments.rounds):
                if not self._has(number, "limit"):
                    self._keep({"round": number, "server": "limit", **self._limit()})
                # Each round begins with another server, so that none always follows the same one.
                turn = number % len(servers)
                for server in (*servers[turn:], *servers[:turn]):
                    if not self._has(number, server.id):
                        self._keep({"round": number, "server": server.id, **self._unit(server, number)})
        finally:
            self._generator.close()
        meta["minutes"] = round((time.monotonic() - started) / 60, 1)
        document = {**meta, "units": self.units}
        (self._folder / "results.json").write_text(json.dumps(document, indent=1) + "\n")
        return document

    def _has(self, number: int, server: str) -> bool:
        return any(u["round"] == number and u["server"] == server and "failed" not in u for u in self.units)

    def _keep(self, unit: dict[str, Any]) -> None:
        self.units.append(unit)
        with self._file.open("a") as file:
            file.write(json.dumps(unit) + "\n")

    def _limit(self) -> dict[str, Any]:
        command = [sys.executable, "-m", "benchmarks.limit", "--bundle", str(self._arguments.bundle)]
        if self._arguments.images:
            command += ["--images", str(self._arguments.images)]
        done = subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, check=True)
        limit: dict[str, Any] = json.loads(done.stdout)
        print(
            f"limit: {1000 * limit['core_seconds']:.2f} core-ms a request at best, a lone one "
            f"{1000 * limit['alone_seconds']:.2f} ms ({limit['runtime']['name']} {limit['runtime']['precision']})",
            flush=True,
        )
        return limit

    def _unit(self, server: Server, number: int) -> dict[str, Any]:
        """One server in one round; what went wrong in `failed` where it could not be measured."""
        arguments = self._arguments
        running = Running(server, arguments.peers, self._folder, arguments.bundle)
        unit: dict[str, Any] = {"rows": []}
        try:
            unit["ready_seconds"] = round(running.wait_ready(self._uploads[0]), 2)
            unit["ready_memory_bytes"] = running.tree.memory_bytes()
            print(f"round {number + 1}: {server.id} ready in {unit['ready_seconds']} s", flush=True)
            running.settle()
            unit["agreement"] = self._check(running)
            self._generator.run(Job(running.port, clients=32, warm=0, seconds=arguments.warm_up), running)
            for level in arguments.levels_ours if server.variant == OURS else arguments.levels:
                running.settle()
                row = self._level(running, level, number, unit["rows"])
                unit["rows"].append(row)
                print("  " + report.line(row), flush=True)
        except NotReady as error:
            unit["failed"] = str(error)
            print(f"round {number + 1}: {error}", file=sys.stderr, flush=True)
        finally:
            running.stop()
        return unit

    def _check(self, running: Running) -> float | None:
        """The share of labels that are those of the first server of this run; its own are what others answer to."""
        job = Job(running.port, clients=8, warm=0, seconds=60, requests=_CHECKED, bodies=True)
        answers = self._generator.run(job, running)["answers"]
        found = {upload: labels(json.loads(body)) for upload, status, body in answers if status == 200}
        if len(found) < _CHECKED:
            statuses = sorted({status for _, status, _ in answers})
            raise NotReady(f"{running.server.name} answered {len(found)} of {_CHECKED} uploads; statuses {statuses}")
        if self._expected is None:
            self._expected = found
        return agreement(self._expected, found)

    def _level(self, running: Running, level: str, number: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
        arguments = self._arguments
        common = {"warm": arguments.warm, "seconds": arguments.seconds, "drain": _DRAIN}
        if level.endswith("x"):
            rate = max(1.0, float(level[:-1]) * report.capacity(rows))
            job = Job(running.port, rate=round(rate, 1), seed=number, **common)
        else:
            job = Job(running.port, clients=int(level), **common)
        measured = self._generator.run(job, running)
        return {"level": level, **{name: value for name, value in measured.items() if name not in ("host", "path")}}


def command(words: Sequence[str]) -> str:
    """The command line without the places of this machine, which say nothing to a reader."""
    places = ("--peers", "--resume", "--images", "--bundle")
    kept = [
        word
        for before, word in zip(("", *words), words, strict=False)
        if before not in places and word.partition("=")[0] not in places
    ]
    return " ".join(("python -m benchmarks.bench", *kept))


def plan(servers: Sequence[Server], arguments: argparse.Namespace) -> float:
    """Seconds that the run is going to take, about."""
    seconds = 0.0
    for server in servers:
        levels = arguments.levels_ours if server.variant == OURS else arguments.levels
        seconds += _START_SECONDS[server.variant] + arguments.warm_up + 1
        seconds += sum(arguments.warm + arguments.seconds + _SETTLE for _ in levels)
    return arguments.rounds * (seconds + 10)


def main() -> int:
    """Measure, print, and where it is asked for, record."""
    arguments = _parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are stopped then, too
    servers = [server for server in SERVERS if arguments.servers is None or server.id in arguments.servers]
    minutes = plan(servers, arguments) / 60
    print(
        f"{arguments.rounds} round(s) of {len(servers)} servers: {', '.join(server.id for server in servers)}\n"
        f"levels {','.join(arguments.levels)}; of peers given ours {','.join(arguments.levels_ours)}; "
        f"{arguments.seconds:g} s each; about {minutes:.0f} minutes",
        flush=True,
    )
    if arguments.plan:
        return 0
    document = Bench(arguments).run(servers)
    tables = report.tables(document)
    print("\n" + tables)
    if arguments.record:
        report.record(document, tables)
    return 0 if not any("failed" in unit for unit in document["units"]) else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)

    def words(text: str) -> tuple[str, ...]:
        return tuple(word.strip() for word in text.split(",") if word.strip())

    known = {server.id for server in SERVERS}
    parser.add_argument("--servers", type=words, help=f"some of {', '.join(server.id for server in SERVERS)}")
    parser.add_argument("--rounds", type=int, help="default: 3")
    parser.add_argument("--seconds", type=float, help="of each level that count; default: 3")
    parser.add_argument("--warm", type=float, help="seconds of each level before those; default: 0.7")
    parser.add_argument("--warm-up", type=float, help="seconds of load before a server's first level; default: 2")
    parser.add_argument("--levels", type=words, default=LEVELS)
    parser.add_argument("--levels-ours", type=words, default=LEVELS_OURS, help="of peers given our intake and runtime")
    parser.add_argument("--quick", action="store_true", help="one round of levels of one second, unless said otherwise")
    parser.add_argument("--uploads", type=int, default=256, help="how many different pictures")
    parser.add_argument("--images", type=Path, help="a folder or a zip file of photos to enlarge instead of drawings")
    parser.add_argument("--bundle", type=Path, default=ROOT / "weights" / "fashion")
    parser.add_argument("--peers", type=Path, default=ROOT / "benchmarks" / ".envs", help="the peers' environments")
    parser.add_argument("--plan", action="store_true", help="say how long the run would take and stop")
    parser.add_argument("--resume", type=Path, help="the folder of a run that was cut off")
    parser.add_argument("--record", action="store_true", help="write docs/performance.md and benchmarks/results")
    arguments = parser.parse_args()
    for name, value in (_QUICK if arguments.quick else _FULL).items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    if unknown := set(arguments.servers or ()) - known:
        parser.error(f"--servers: {', '.join(sorted(unknown))} not among {', '.join(sorted(known))}")
    for level in (*arguments.levels, *arguments.levels_ours):
        if not level.removesuffix("x").replace(".", "", 1).isdecimal():
            parser.error(f"--levels: {level!r} is neither a number of clients nor a multiple such as 2x")
    if not any(not level.endswith("x") for level in arguments.levels):
        parser.error("--levels: an open loop needs a closed one before it, which tells the capacity")
    return arguments


if __name__ == "__main__":
    raise SystemExit(main())
